/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_FILL_INTERNAL_H
#define SNAP_SNAPSHOT_PAGES_FILL_INTERNAL_H

/* What the parts of the refill share. */

#include <stdbool.h>
#include <stddef.h>
#include <xxhash.h>

#include "snapshot/pages/fill.h"
#include "snapshot/pages/reader.h"

struct fill {
	const struct page_map *map;
	const struct fill_options *options;
	const struct page_reader_type *reader;
	int data_fd;
	unsigned int n_threads;
	/* one byte a chunk, 1: filled and checked already; NULL: none is */
	unsigned char *filled;
	struct fill_result *result;
};

/* a chunk's checksum, piece by piece; nothing is computed where nothing is checked */
struct fill_sum {
	bool on;
	XXH3_state_t *state; /* one per thread, made with XXH3_createState() */
};

void fill_sum_begin(const struct fill *fill, struct fill_sum *sum);
void fill_sum_add(struct fill_sum *sum, const unsigned char *bytes, size_t size);
bool fill_sum_agrees(const struct fill_sum *sum, const struct page_chunk *chunk);

/* what is not filled yet, through buffers of ours and process_vm_writev (fill_writev.c) */
int fill_run_writev(struct fill *fill, struct snap_error *err);

/*
 * What a ring can read straight into place, by rings in the processes; the rest as above. Where no
 * ring is to be had everything is the rest, and result->why says why (fill_ring.c).
 */
int fill_run_ring(struct fill *fill, struct snap_error *err);

#endif
