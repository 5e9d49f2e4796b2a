/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_FILL_INTERNAL_H
#define SNAP_SNAPSHOT_PAGES_FILL_INTERNAL_H

/* What the parts of the refill share. */

#include "snapshot/pages/fill.h"
#include "snapshot/pages/reader.h"

struct fill {
	const struct page_map *map;
	const struct fill_options *options;
	const struct page_reader_type *reader;
	int data_fd;
	unsigned int n_threads;
	struct fill_result *result;
};

/* the stored bytes, decoded into spare if need be; NULL: what came out is not what went in */
const unsigned char *fill_decode(const struct fill *fill, const struct page_chunk *chunk,
				 const unsigned char *stored, unsigned char *spare);

/* through buffers of ours and process_vm_writev (fill_writev.c) */
int fill_run_writev(struct fill *fill, struct snap_error *err);

#endif
