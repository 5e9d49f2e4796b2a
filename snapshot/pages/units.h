/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_UNITS_H
#define SNAP_SNAPSHOT_PAGES_UNITS_H

/*
 * The runs of a plan cut into what becomes one chunk each. A huge page that is present as a whole
 * is a unit of its own; what is scattered is gathered until a chunk is full.
 */

#include <stddef.h>
#include <stdint.h>

#include "snapshot/pages/plan.h"

#define PAGES_UNIT_PIECES_MAX 512U /* fits one process_vm_readv (UIO_MAXIOV 1024) */

struct pages_piece {
	uint64_t address;
	uint32_t bytes;
	uint32_t region;
};

struct pages_unit {
	uint32_t first_piece;
	uint32_t n_pieces;
	uint32_t bytes;
	uint32_t space;
	uint32_t flags; /* enum pages_run_flag */
};

struct pages_units {
	struct pages_piece *pieces;
	size_t n_pieces;
	struct pages_unit *units;
	size_t n;
};

/* 0 or -ENOMEM; *ret is the caller's to pages_units_done() */
int pages_units_make(const struct pages_plan *plan, struct pages_units *ret);
void pages_units_done(struct pages_units *units); /* idempotent */

#endif
