/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_FILL_H
#define SNAP_SNAPSHOT_PAGES_FILL_H

/*
 * Refill: the content of pages.dat back into a stopped tree. Every chunk is checked before this
 * returns, in the same pass. Nothing is allocated by the size of the snapshot; the buffers take
 * FILL_BUFFERS_MAX at most.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/pages/device.h"
#include "snapshot/pages/map.h"

#define FILL_THREADS_MAX 4U
#define FILL_BUFFERS_MAX (64U << 20) /* bytes */
#define FILL_WHY_MAX	 256U

/* in the order of common/page_options.h */
enum fill_filler {
	FILL_FILLER_AUTO,
	FILL_FILLER_RING,
	FILL_FILLER_WRITEV
};

enum fill_reader {
	FILL_READER_AUTO,
	FILL_READER_URING,
	FILL_READER_PREAD
};

enum fill_direct {
	FILL_DIRECT_AUTO,
	FILL_DIRECT_ON,
	FILL_DIRECT_OFF
};

enum fill_thp {
	FILL_THP_AUTO,
	FILL_THP_NEVER
};

enum fill_verify {
	FILL_VERIFY_FULL,
	FILL_VERIFY_HEADER
};

struct fill_options {
	enum fill_filler filler;
	enum fill_reader reader;
	enum fill_direct direct;
	enum fill_thp thp;
	enum fill_verify verify;
	unsigned int threads; /* 0: as many as CPUs, at most FILL_THREADS_MAX */
	/*
	 * Of a map of devices, which goes by writev's threads and whole chunks, without advice;
	 * their memory holds zeros already. Else NULL
	 */
	const struct page_device *device;
};

/* what was chosen, for the log */
struct fill_result {
	const char *filler;	/* "ring": at least a part of it */
	const char *reader;	/* of what did not go by a ring */
	char why[FILL_WHY_MAX]; /* why not a ring where it was asked for, "": nothing to say */
	bool direct;
	uint64_t huge_bytes; /* given huge-page advice */
	uint64_t bytes;	     /* of memory filled */
	uint64_t ring_bytes; /* of these by rings */
	uint64_t advise_ns;
	uint64_t fill_ns;
};

/*
 * SNAP_E_CORRUPT: a chunk is not what it was; SNAP_E_RESTORE: the memory could not be written. The
 * tree is then not to be run: fill again, or end it.
 */
int pages_fill(const struct page_map *map, int gen_fd, const struct fill_options *options,
	       struct fill_result *ret, struct snap_error *err);

/* the same from pages.dat that is open already, by way of the page cache; data_fd stays open */
int pages_fill_from(const struct page_map *map, int data_fd, const struct fill_options *options,
		    struct fill_result *ret, struct snap_error *err);

#endif
