/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_OVERLAP_H
#define SNAP_SNAPSHOT_PAGES_OVERLAP_H

/* Memory that two snapshots have in common, chunk by chunk, wherever it lay. */

#include "snapshot/pages/map.h"

struct overlap {
	size_t chunks;	/* with the same checksum in both, each counted once for each pair */
	uint64_t bytes; /* of memory in them */
};

/* 0 or -ENOMEM */
int overlap_find(const struct page_map *a, const struct page_map *b, struct overlap *ret);

#endif
