/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_READER_H
#define SNAP_SNAPSHOT_PAGES_READER_H

/*
 * Read pieces of pages.dat into buffers, a few ahead of their use. One reader serves one thread.
 * Two ways behind one table: an io_uring of the thread, or pread when the piece is asked for.
 */

#include <stddef.h>
#include <stdint.h>

#include "snapshot/pages/map.h"

#define READER_DEPTH_MAX   8U
#define READER_BLOCK_BYTES (256U << 10) /* of one read: what stays in a core's cache */

struct page_read {
	unsigned char *buf; /* page-aligned, READER_BLOCK_BYTES */
	uint64_t offset;
	uint32_t bytes; /* a whole number of pages; fewer come at the end of the file */
};

struct page_reader;

struct page_reader_type {
	const char *name;
	/* 0 or -errno: this way is not to be had here (EPERM, ENOSYS …) */
	int (*open)(struct page_reader *reader);
	/* begin; 0 or -errno */
	int (*start)(struct page_reader *reader, unsigned int slot);
	/* wait until all bytes of the slot are there; 0, -EIO (file too short) or -errno */
	int (*finish)(struct page_reader *reader, unsigned int slot);
	void (*close)(struct page_reader *reader); /* waits for what was begun */
};

struct page_reader {
	const struct page_reader_type *type;
	int fd; /* of pages.dat, borrowed */
	unsigned int depth;
	struct page_read slots[READER_DEPTH_MAX];
	void *state;
};

extern const struct page_reader_type page_reader_uring;
extern const struct page_reader_type page_reader_pread;

#endif
