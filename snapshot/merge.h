/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_MERGE_H
#define SNAP_SNAPSHOT_MERGE_H

/*
 * The pages of a space of pages.map and those that were left with CRIU, as one pair of images of
 * CRIU's. Where both have a page ours counts, as at a wake.
 */

#include <stdatomic.h>

#include "common/error.h"
#include "snapshot/pages/chunk.h"
#include "snapshot/pages/map.h"

struct merge {
	int criu_fd; /* folder of the images as they are */
	int to_fd;   /* folder of those to make */
	struct chunk_reader *reader;
	const atomic_bool *stop; /* looked at between chunks: -ECANCELED */
	uint32_t next_pages_id;	 /* for what CRIU has no pages of; counted up */
	uint64_t bytes;		 /* of pages put, ours and kept ones */
};

/* name: of the pagemap image, which need not be there yet */
int merge_space(struct merge *merge, const struct page_space *space, const char *name,
		struct snap_error *err);

#endif
