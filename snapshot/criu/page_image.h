/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CRIU_PAGE_IMAGE_H
#define SNAP_SNAPSHOT_CRIU_PAGE_IMAGE_H

/*
 * CRIU's memory of one process or shared object: pagemap-X.img, which says what is where, and
 * pages-N.img with the pages, one after another in the order of the entries. N is a counter over
 * all of them and stands in the first record of pagemap-X.img.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/criu/image.h"

#define PAGE_IMAGE_FLAG_PRESENT 4U   /* the pages are in pages-N.img */
#define PAGE_IMAGE_RUN_MAX	256U /* pages of an entry that is written: 1 MiB */

struct page_run {
	uint64_t address; /* or offset in the object */
	uint64_t n_pages;
	uint32_t flags;
};

/* pagemap-X.img, read and checked entry by entry: ascending, whole pages, all of them present */
struct page_image {
	struct image image;
	uint32_t pages_id;
	uint64_t end; /* of the last entry */
};

/* -ENOENT when there is none; *ret is the caller's to page_image_close() */
int page_image_open(int dir_fd, const char *name, struct page_image *ret, struct snap_error *err);
int page_image_parse(const void *data, size_t size, struct page_image *ret, struct snap_error *err);
void page_image_close(struct page_image *image); /* idempotent */

/* 1 with the next entry, 0 at the end, or negative */
int page_image_next(struct page_image *image, struct page_run *ret, struct snap_error *err);

/* both files, new below a folder, 0600; runs are put in ascending order */
struct page_image_writer {
	int map_fd;
	int pages_fd;
	uint64_t bytes;	     /* of pages so far */
	struct page_run run; /* not written yet; n_pages 0: none */
	unsigned char buf[4096];
	size_t used;
};

int page_image_create(int dir_fd, const char *name, uint32_t pages_id,
		      struct page_image_writer *ret, struct snap_error *err);

/* n_pages from memory, or from where another file stands at `from`; 0 or -errno */
int page_image_put(struct page_image_writer *w, const struct page_run *run, const void *pages);
int page_image_copy(struct page_image_writer *w, const struct page_run *run, int fd, off_t from);

/* write what is left and sync; 0 or -errno. Also closes, as page_image_drop() does */
int page_image_finish(struct page_image_writer *w);
void page_image_drop(struct page_image_writer *w); /* idempotent */

void page_image_pages_name(uint32_t pages_id, char ret[IMAGE_NAME_MAX]);

#endif
