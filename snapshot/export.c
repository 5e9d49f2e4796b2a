/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/beneath.h"
#include "snapshot/criu/image.h"
#include "snapshot/criu/page_image.h"
#include "snapshot/criu/runnable.h"
#include "snapshot/criu/shmid.h"
#include "snapshot/folder.h"
#include "snapshot/images.h"
#include "snapshot/merge.h"

#define CRIU_FOLDER  "criu/"
#define LAST_OF_ALL  CRIU_FOLDER "inventory.img"
#define PAGES_ID_MAX (UINT32_MAX - PAGE_MAP_SPACES_MAX) /* there are ids left for every space */

struct export
{
	int gen_fd;
	int criu_fd;
	int to_fd;
	const struct manifest *m;
	const atomic_bool *stop;
	struct page_map map;
	uint64_t *numbers; /* in the name of each space's images; pids and shmids */
	struct export_result *result;
};

static int copy_image(const struct export *e, const char *name, struct snap_error *err)
{
	snap_cleanup_close int from = beneath_open(e->gen_fd, name, O_RDONLY | O_NOCTTY);
	snap_cleanup_close int to = FD_NONE;
	const char *base = name + strlen(CRIU_FOLDER);
	struct stat st;
	int r;

	if (from < 0)
		return snap_fail(err, SNAP_E_CORRUPT, -from, "cannot open '%s'", name);
	to = openat(e->to_fd, base, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0 || fchmod(to, 0600) < 0 || fstat(from, &st) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make '%s'", base);
	r = io_copy_fd(from, to, (uint64_t)st.st_size, err);
	if (r == 0)
		r = runnable_make(to, base, err);
	if (r == 0 && fsync(to) < 0)
		r = snap_fail(err, SNAP_E_INTERNAL, errno, "cannot write '%s'", base);
	return r;
}

/* those of criu/; is_last: the one that waits until all others are there */
static int copy_images(const struct export *e, bool is_last, struct snap_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < e->m->n_images; i++) {
		const char *name = e->m->images[i].name;

		if (strncmp(name, CRIU_FOLDER, strlen(CRIU_FOLDER)) != 0 ||
		    (strcmp(name, LAST_OF_ALL) == 0) != is_last)
			continue;
		if (atomic_load(e->stop))
			return snap_fail_plain(err, SNAP_E_INTERNAL, ECANCELED, "stopped");
		r = copy_image(e, name, err);
	}
	return r;
}

static int find_number(const struct export *e, const struct page_space *space, uint64_t *ret,
		       struct snap_error *err)
{
	if (space->kind == PAGE_SPACE_TASK) {
		*ret = (uint64_t)space->pid;
		return 0;
	}
	return space->fd >= 0 ? shmid_of_descriptor(e->criu_fd, space->pid, space->fd, ret, err)
			      : shmid_of_mapping(e->criu_fd, space->pid, space->start, space->end,
						 ret, err);
}

static int compare_numbers(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* two spaces in one image would overwrite each other */
static int check_shared_once(const struct export *e, struct snap_error *err)
{
	snap_cleanup_free uint64_t *sorted = calloc(e->map.n_spaces + 1, sizeof(*sorted));
	size_t n = 0;

	if (!sorted)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; i < e->map.n_spaces; i++) {
		if (e->map.spaces[i].kind == PAGE_SPACE_SHARED && e->map.spaces[i].n_chunks > 0)
			sorted[n++] = e->numbers[i];
	}
	qsort(sorted, n, sizeof(*sorted), compare_numbers);
	for (size_t i = 1; i < n; i++) {
		if (sorted[i] == sorted[i - 1])
			return snap_fail_plain(err, SNAP_E_CORRUPT, EEXIST,
					       "shared object %" PRIu64 " is in '%s' twice",
					       sorted[i], PAGES_MAP_NAME);
	}
	return 0;
}

static int find_numbers(struct export *e, struct snap_error *err)
{
	int r = 0;

	e->numbers = calloc(e->map.n_spaces + 1, sizeof(*e->numbers));
	if (!e->numbers)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < e->map.n_spaces; i++) {
		if (e->map.spaces[i].n_chunks > 0)
			r = find_number(e, &e->map.spaces[i], &e->numbers[i], err);
	}
	return r == 0 ? check_shared_once(e, err) : r;
}

/* the highest N of pages-N.img, and one more */
static uint32_t first_free_id(const struct manifest *m)
{
	uint32_t highest = 0, id;

	for (size_t i = 0; i < m->n_images; i++) {
		char again[IMAGE_NAME_MAX];

		if (sscanf(m->images[i].name, CRIU_FOLDER "pages-%" SCNu32 ".img", &id) != 1 ||
		    id > PAGES_ID_MAX)
			continue;
		page_image_pages_name(id, again);
		if (strcmp(m->images[i].name + strlen(CRIU_FOLDER), again) == 0 && id > highest)
			highest = id;
	}
	return highest + 1;
}

static int merge_pages(struct export *e, struct snap_error *err)
{
	struct chunk_reader reader;
	struct merge merge = {
		.criu_fd = e->criu_fd,
		.to_fd = e->to_fd,
		.reader = &reader,
		.stop = e->stop,
		.next_pages_id = first_free_id(e->m),
	};
	int r = chunk_reader_open(e->gen_fd, &e->map, &reader, err);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < e->map.n_spaces; i++) {
		const struct page_space *space = &e->map.spaces[i];
		char name[IMAGE_NAME_MAX];

		(void)snprintf(name, sizeof(name), "pagemap-%s%" PRIu64 ".img",
			       space->kind == PAGE_SPACE_SHARED ? "shmem-" : "", e->numbers[i]);
		r = merge_space(&merge, space, name, err);
	}
	e->result->merged_bytes = merge.bytes;
	chunk_reader_close(&reader);
	return r;
}

static int count_file(int dir_fd, const char *name, void *arg)
{
	struct export_result *result = arg;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	result->files++;
	result->bytes += (uint64_t)st.st_size;
	return 0;
}

static int fill_folder(struct export *e, struct snap_error *err)
{
	int r = copy_images(e, false, err);

	if (r == 0 && e->m->pages_bytes > 0)
		r = merge_pages(e, err);
	if (r == 0)
		r = copy_images(e, true, err);
	if (r < 0)
		return r;
	r = folder_each(e->to_fd, count_file, e->result);
	if (r == 0 && fsync(e->to_fd) < 0 && errno != EINVAL)
		r = -errno;
	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "cannot finish") : 0;
}

static int is_entry(int dir_fd, const char *name, void *arg)
{
	(void)dir_fd;
	(void)name;
	(void)arg;
	return 1;
}

static int remove_entry(int dir_fd, const char *name, void *arg)
{
	(void)arg;
	return folder_remove(dir_fd, name);
}

static int open_folder(const char *to, bool *ret_made, struct snap_error *err)
{
	int fd, r;

	*ret_made = mkdir(to, 0700) == 0;
	if (!*ret_made && errno != EEXIST)
		return snap_fail(err, snap_code_of_place(errno), errno, "cannot make '%s'", to);
	fd = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return snap_fail(err, SNAP_E_USAGE, errno, "cannot open '%s'", to);
	r = folder_each(fd, is_entry, NULL);
	if (r == 0)
		return fd;
	(void)fd_close(fd);
	return r > 0 ? snap_fail_plain(err, SNAP_E_USAGE, ENOTEMPTY, "'%s' is not empty", to)
		     : snap_fail(err, SNAP_E_USAGE, -r, "cannot list '%s'", to);
}

/* all that can be found wrong before a folder is made */
static int prepare(struct export *e, struct snap_error *err)
{
	int r;

	if (manifest_has_device_files(&e->m->gpu))
		return snap_fail_plain(err, SNAP_E_UNSNAPSHOTABLE, ENOTSUP,
				       "CRIU has no place for " DEVICE_DATA_NAME
				       ": the snapshot's device memory (gpu.mode storage) is in no "
				       "process, and would be lost");
	r = images_verify(e->gen_fd, e->m, IMAGES_ALL, e->stop, err);

	if (r < 0)
		return r;
	e->criu_fd = openat(e->gen_fd, "criu", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (e->criu_fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open 'criu'");
	if (e->m->pages_bytes == 0)
		return 0;
	r = images_load_pages(e->gen_fd, PAGE_FILES_TREE, e->m, &e->map, err);
	return r == 0 ? find_numbers(e, err) : r;
}

int export_images(int gen_fd, const struct manifest *m, const char *to, const atomic_bool *stop,
		  struct export_result *ret, struct snap_error *err)
{
	struct export e = {
		.gen_fd = gen_fd,
		.criu_fd = FD_NONE,
		.to_fd = FD_NONE,
		.m = m,
		.stop = stop,
		.result = ret,
	};
	bool made = false;
	int r = prepare(&e, err);

	*ret = (struct export_result){.files = 0};
	if (r == 0) {
		e.to_fd = open_folder(to, &made, err);
		r = e.to_fd < 0 ? e.to_fd : fill_folder(&e, err);
		if (r < 0 && e.to_fd >= 0)
			(void)folder_each(e.to_fd, remove_entry, NULL);
		if (r < 0 && made)
			(void)rmdir(to);
	}
	free(e.numbers);
	page_map_done(&e.map);
	e.to_fd = fd_close(e.to_fd);
	e.criu_fd = fd_close(e.criu_fd);
	return r;
}
