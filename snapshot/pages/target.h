/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_TARGET_H
#define SNAP_SNAPSHOT_PAGES_TARGET_H

/*
 * Where pages go: the memory of a stopped process or an object of shared memory. One target serves
 * one thread and keeps the last space open.
 */

#include <stdint.h>

#include "snapshot/pages/map.h"

struct page_target {
	const struct page_map *map;
	int fd; /* of space: /proc/PID/mem, or the object; FD_NONE: none yet */
	uint32_t space;
};

void page_target_init(struct page_target *target, const struct page_map *map);
void page_target_done(struct page_target *target); /* idempotent */

/* the chunk's bytes to its extents; 0 or -errno (-ESRCH: the process is gone) */
int page_target_put(struct page_target *target, const struct page_chunk *chunk,
		    const unsigned char *bytes);

#endif
