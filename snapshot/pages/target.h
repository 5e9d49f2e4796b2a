/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_TARGET_H
#define SNAP_SNAPSHOT_PAGES_TARGET_H

/*
 * Where pages go: the memory of a stopped process, an object of shared memory or a device. One
 * target serves one thread and keeps the last space open.
 */

#include <stddef.h>
#include <stdint.h>

#include "snapshot/pages/device.h"
#include "snapshot/pages/map.h"

struct page_target {
	const struct page_map *map;
	const struct page_device *device;
	int fd; /* of space: /proc/PID/mem, or the object; FD_NONE: none yet */
	uint32_t space;
};

/* device: for DEVICE spaces, NULL where there are none */
void page_target_init(struct page_target *target, const struct page_map *map,
		      const struct page_device *device);
void page_target_done(struct page_target *target); /* idempotent */

/* how far a chunk is put; start with {0} */
struct page_cursor {
	uint32_t extent; /* of the chunk's */
	uint64_t done;	 /* bytes of that extent */
};

/*
 * The next size bytes (whole pages) of the chunk to where they belong, and *cursor behind them. 0
 * or -errno (-ESRCH: the process is gone).
 */
int page_target_put(struct page_target *target, const struct page_chunk *chunk,
		    struct page_cursor *cursor, const unsigned char *bytes, size_t size);

#endif
