/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/merge.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "common/fd.h"
#include "snapshot/criu/page_image.h"

/* two ascending streams of runs */
struct streams {
	struct merge *merge;
	const struct page_map *map;
	struct page_image_writer writer;

	struct page_image old;
	int old_fd;	      /* its pages; FD_NONE: CRIU has none */
	struct page_run kept; /* n_pages 0: at its end */
	off_t kept_at;	      /* where kept begins in old_fd */

	size_t chunk, chunks_end;
	uint32_t extent; /* of the chunk */
	struct page_run ours;
	const unsigned char *ours_pages; /* NULL: none of this chunk are loaded */
};

static uint64_t end_of(const struct page_run *run)
{
	return run->address + run->n_pages * PAGE_BYTES;
}

/* the first n pages of kept are done */
static int advance_kept(struct streams *s, uint64_t n, struct snap_error *err)
{
	int r = 1;

	s->kept_at += (off_t)(n * PAGE_BYTES);
	s->kept.address += n * PAGE_BYTES;
	s->kept.n_pages -= n;
	if (s->kept.n_pages == 0)
		r = page_image_next(&s->old, &s->kept, err);
	if (r == 0)
		s->kept.n_pages = 0;
	return r < 0 ? r : 0;
}

static int load_chunk(struct streams *s, struct snap_error *err)
{
	int r;

	s->extent = 0;
	s->ours.n_pages = 0;
	if (s->chunk == s->chunks_end)
		return 0;
	if (atomic_load(s->merge->stop))
		return snap_fail_plain(err, SNAP_E_INTERNAL, ECANCELED, "stopped");
	r = chunk_read(s->merge->reader, s->chunk, &s->ours_pages, err);
	if (r < 0)
		snap_error_prefix(err, "%s", PAGES_DATA_NAME);
	return r;
}

static void show_extent(struct streams *s)
{
	const struct page_chunk *chunk = &s->map->chunks[s->chunk];
	const struct page_extent *extent = &s->map->extents[chunk->first_extent + s->extent];

	s->ours = (struct page_run){extent->address, extent->n_pages, PAGE_IMAGE_FLAG_PRESENT};
}

static int advance_ours(struct streams *s, struct snap_error *err)
{
	int r = 0;

	s->ours_pages += s->ours.n_pages * PAGE_BYTES;
	s->extent++;
	if (s->extent == s->map->chunks[s->chunk].n_extents) {
		s->chunk++;
		r = load_chunk(s, err);
	}
	if (r == 0 && s->chunk < s->chunks_end)
		show_extent(s);
	return r;
}

static int fail_to_write(int r, const char *name, struct snap_error *err)
{
	return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot write '%s' and its pages", name);
}

static int put_ours(struct streams *s, const char *name, struct snap_error *err)
{
	uint64_t end = end_of(&s->ours);
	int r = page_image_put(&s->writer, &s->ours, s->ours_pages);

	if (r < 0)
		return fail_to_write(r, name, err);
	r = advance_ours(s, err);
	while (r == 0 && s->kept.n_pages > 0 && s->kept.address < end) {
		uint64_t n = (end - s->kept.address) / PAGE_BYTES;

		r = advance_kept(s, n < s->kept.n_pages ? n : s->kept.n_pages, err);
	}
	return r;
}

/* as far as ours begins */
static int put_kept(struct streams *s, const char *name, struct snap_error *err)
{
	struct page_run run = s->kept;
	int r;

	if (s->ours.n_pages > 0 && end_of(&run) > s->ours.address)
		run.n_pages = (s->ours.address - run.address) / PAGE_BYTES;
	r = page_image_copy(&s->writer, &run, s->old_fd, s->kept_at);
	if (r == -ENODATA)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
				       "the pages of '%s' are not all there", name);
	return r < 0 ? fail_to_write(r, name, err) : advance_kept(s, run.n_pages, err);
}

static int put_all(struct streams *s, const char *name, struct snap_error *err)
{
	int r = 0;

	while (r == 0 && (s->kept.n_pages > 0 || s->ours.n_pages > 0)) {
		if (s->ours.n_pages == 0 ||
		    (s->kept.n_pages > 0 && s->kept.address < s->ours.address))
			r = put_kept(s, name, err);
		else
			r = put_ours(s, name, err);
	}
	if (r < 0)
		return r;
	s->merge->bytes += s->writer.bytes;
	r = page_image_finish(&s->writer);
	return r < 0 ? fail_to_write(r, name, err) : 0;
}

static int open_old(struct streams *s, const char *name, struct snap_error *err)
{
	char pages[IMAGE_NAME_MAX];
	struct stat st;
	int r;

	if (fstatat(s->merge->criu_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
		s->old.pages_id = s->merge->next_pages_id++;
		return 0;
	}
	r = page_image_open(s->merge->criu_fd, name, &s->old, err);
	if (r < 0)
		return r;
	page_image_pages_name(s->old.pages_id, pages);
	s->old_fd = openat(s->merge->criu_fd, pages, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	if (s->old_fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open '%s'", pages);
	return advance_kept(s, 0, err);
}

int merge_space(struct merge *merge, const struct page_space *space, const char *name,
		struct snap_error *err)
{
	struct streams s = {
		.merge = merge,
		.map = merge->reader->map,
		.writer = {.map_fd = FD_NONE, .pages_fd = FD_NONE},
		.old_fd = FD_NONE,
		.chunk = space->first_chunk,
		.chunks_end = (size_t)space->first_chunk + space->n_chunks,
	};
	int r;

	if (space->n_chunks == 0)
		return 0;
	r = open_old(&s, name, err);
	if (r == 0)
		r = page_image_create(merge->to_fd, name, s.old.pages_id, &s.writer, err);
	if (r == 0)
		r = load_chunk(&s, err);
	if (r == 0) {
		show_extent(&s);
		r = put_all(&s, name, err);
	}
	page_image_drop(&s.writer);
	page_image_close(&s.old);
	s.old_fd = fd_close(s.old_fd);
	return r;
}
