/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_PLACEMENT_H
#define SNAP_SNAPSHOT_PAGES_PLACEMENT_H

/*
 * Where chunks lie in pages.dat: one after another, whole huge pages on 2 MiB boundaries. The gaps
 * that this leaves are used for smaller chunks.
 */

#include <stddef.h>
#include <stdint.h>

#define PLACEMENT_GAPS_MAX 64U

struct placement_gap {
	uint64_t start;
	uint64_t end;
};

struct placement {
	uint64_t end; /* first byte behind everything */
	struct placement_gap gaps[PLACEMENT_GAPS_MAX];
	size_t n_gaps;
};

/* room for bytes, aligned to PAGE_BYTES, or to PAGES_DENSE_ALIGN for a whole huge page */
uint64_t placement_take(struct placement *placement, uint64_t bytes);

#endif
