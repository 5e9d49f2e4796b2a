/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/criu/page_image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"

/* fields of CRIU's images/pagemap.proto; until 4.2 the count was in the 32-bit field alone */
#define HEAD_PAGES_ID	1U
#define ENTRY_VADDR	1U
#define ENTRY_OLD_COUNT 2U
#define ENTRY_IN_PARENT 3U
#define ENTRY_FLAGS	4U
#define ENTRY_COUNT	5U

#define PAGE		4096U
#define ADDRESS_END	((uint64_t)1 << 56)
#define FLAG_PARENT	1U
#define FILE_FLAGS_NEW	(O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)
#define COPY_BUFFER_MAX 65536U

void page_image_pages_name(uint32_t pages_id, char ret[IMAGE_NAME_MAX])
{
	(void)snprintf(ret, IMAGE_NAME_MAX, "pages-%" PRIu32 ".img", pages_id);
}

static int broken(const struct page_image *image, const char *why, struct snap_error *err)
{
	return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN, "'%s' %s", image->image.name, why);
}

static int read_head(struct page_image *image, struct snap_error *err)
{
	struct image_bytes record;
	uint64_t id = 0;
	int r = image_next(&image->image, &record, err);

	if (r < 0)
		return r;
	if (r == 0 || image_number(record, HEAD_PAGES_ID, &id) <= 0 || id == 0 || id > UINT32_MAX)
		return broken(image, "does not begin with the number of its pages", err);
	image->pages_id = (uint32_t)id;
	return 0;
}

int page_image_open(int dir_fd, const char *name, struct page_image *ret, struct snap_error *err)
{
	int r;

	*ret = (struct page_image){.end = 0};
	r = image_load(dir_fd, name, IMAGE_MAGIC_PAGEMAP, &ret->image, err);
	if (r == 0)
		r = read_head(ret, err);
	if (r < 0)
		page_image_close(ret);
	return r;
}

int page_image_parse(const void *data, size_t size, struct page_image *ret, struct snap_error *err)
{
	int r;

	*ret = (struct page_image){.end = 0};
	r = image_parse(data, size, "pagemap", IMAGE_MAGIC_PAGEMAP, &ret->image, err);
	return r == 0 ? read_head(ret, err) : r;
}

void page_image_close(struct page_image *image)
{
	image_done(&image->image);
}

/* as CRIU reads it: no flags mean present, no 64-bit count means the 32-bit one */
static int read_entry(struct image_bytes record, struct page_run *ret)
{
	uint64_t flags = PAGE_IMAGE_FLAG_PRESENT, in_parent = 0;

	*ret = (struct page_run){.address = 0};
	if (image_number(record, ENTRY_VADDR, &ret->address) <= 0 ||
	    image_number(record, ENTRY_OLD_COUNT, &ret->n_pages) <= 0 ||
	    image_number(record, ENTRY_COUNT, &ret->n_pages) < 0 ||
	    image_number(record, ENTRY_FLAGS, &flags) < 0 ||
	    image_number(record, ENTRY_IN_PARENT, &in_parent) < 0 || flags > UINT32_MAX)
		return -EUCLEAN;
	ret->flags = (uint32_t)flags | (in_parent ? FLAG_PARENT : 0);
	return 0;
}

int page_image_next(struct page_image *image, struct page_run *ret, struct snap_error *err)
{
	struct image_bytes record;
	int r = image_next(&image->image, &record, err);

	if (r <= 0)
		return r;
	if (read_entry(record, ret) < 0)
		return broken(image, "has a record that is no entry", err);
	if (ret->flags & FLAG_PARENT || !(ret->flags & PAGE_IMAGE_FLAG_PRESENT))
		return broken(image, "names pages that are not in it", err);
	if (ret->address % PAGE || ret->n_pages == 0 || ret->address >= ADDRESS_END ||
	    ret->n_pages > (ADDRESS_END - ret->address) / PAGE)
		return broken(image, "has an entry that is no range of pages", err);
	if (ret->address < image->end)
		return broken(image, "has entries that do not ascend", err);
	image->end = ret->address + ret->n_pages * PAGE;
	return 1;
}

static int flush(struct page_image_writer *w)
{
	int r = io_write_full(w->map_fd, w->buf, w->used);

	w->used = 0;
	return r;
}

static int put_bytes(struct page_image_writer *w, const void *data, size_t n)
{
	int r = w->used + n > sizeof(w->buf) ? flush(w) : 0;

	if (r < 0)
		return r;
	memcpy(w->buf + w->used, data, n);
	w->used += n;
	return 0;
}

static int put_record(struct page_image_writer *w, struct image_record *record)
{
	size_t n = image_record_end(record);

	return put_bytes(w, record->bytes, n);
}

/* both counts, for a CRIU of any age */
static int put_run(struct page_image_writer *w)
{
	struct image_record record;

	if (w->run.n_pages == 0)
		return 0;
	image_record_begin(&record);
	image_record_add(&record, ENTRY_VADDR, w->run.address);
	image_record_add(&record, ENTRY_OLD_COUNT, w->run.n_pages);
	image_record_add(&record, ENTRY_FLAGS, w->run.flags);
	image_record_add(&record, ENTRY_COUNT, w->run.n_pages);
	w->run.n_pages = 0;
	return put_record(w, &record);
}

/* what touches the run before it joins it */
static int add_run(struct page_image_writer *w, const struct page_run *run)
{
	struct page_run left = *run;

	while (left.n_pages > 0) {
		struct page_run *open = &w->run;
		uint64_t n;
		int r;

		if (open->n_pages == PAGE_IMAGE_RUN_MAX || open->flags != left.flags ||
		    open->address + open->n_pages * PAGE != left.address) {
			r = put_run(w);
			if (r < 0)
				return r;
		}
		if (open->n_pages == 0)
			*open = (struct page_run){.address = left.address, .flags = left.flags};
		n = PAGE_IMAGE_RUN_MAX - open->n_pages;
		n = n < left.n_pages ? n : left.n_pages;
		open->n_pages += n;
		left.address += n * PAGE;
		left.n_pages -= n;
	}
	w->bytes += run->n_pages * PAGE;
	return 0;
}

/* a new file in the place of one that may be there */
static int create(int dir_fd, const char *name)
{
	int fd;

	if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dir_fd, name, FILE_FLAGS_NEW, 0600);
	return fd < 0 ? -errno : fd;
}

int page_image_create(int dir_fd, const char *name, uint32_t pages_id,
		      struct page_image_writer *ret, struct snap_error *err)
{
	unsigned char head[IMAGE_HEAD_BYTES];
	char pages_name[IMAGE_NAME_MAX];
	struct image_record record;

	*ret = (struct page_image_writer){.map_fd = FD_NONE, .pages_fd = FD_NONE};
	page_image_pages_name(pages_id, pages_name);
	ret->map_fd = create(dir_fd, name);
	if (ret->map_fd < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -ret->map_fd, "cannot make '%s'", name);
	ret->pages_fd = create(dir_fd, pages_name);
	if (ret->pages_fd < 0) {
		int r = ret->pages_fd;

		page_image_drop(ret);
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot make '%s'", pages_name);
	}
	image_head(IMAGE_MAGIC_PAGEMAP, head);
	image_record_begin(&record);
	image_record_add(&record, HEAD_PAGES_ID, pages_id);
	(void)put_bytes(ret, head, sizeof(head)); /* both fit the buffer */
	(void)put_record(ret, &record);
	return 0;
}

int page_image_put(struct page_image_writer *w, const struct page_run *run, const void *pages)
{
	int r = add_run(w, run);

	return r == 0 ? io_write_full(w->pages_fd, pages, run->n_pages * PAGE) : r;
}

int page_image_copy(struct page_image_writer *w, const struct page_run *run, int fd, off_t from)
{
	unsigned char buf[COPY_BUFFER_MAX];
	uint64_t left = run->n_pages * PAGE;
	int r = add_run(w, run);

	while (r == 0 && left > 0) {
		size_t want = left < sizeof(buf) ? (size_t)left : sizeof(buf);
		ssize_t n = pread(fd, buf, want, from);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		r = io_write_full(w->pages_fd, buf, (size_t)n);
		from += n;
		left -= (uint64_t)n;
	}
	return r;
}

int page_image_finish(struct page_image_writer *w)
{
	int r = put_run(w);

	if (r == 0)
		r = flush(w);
	if (r == 0 && (fsync(w->map_fd) < 0 || fsync(w->pages_fd) < 0))
		r = -errno;
	page_image_drop(w);
	return r;
}

void page_image_drop(struct page_image_writer *w)
{
	w->map_fd = fd_close(w->map_fd);
	w->pages_fd = fd_close(w->pages_fd);
}
