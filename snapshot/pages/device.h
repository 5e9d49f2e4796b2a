/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_DEVICE_H
#define SNAP_SNAPSHOT_PAGES_DEVICE_H

/*
 * Who moves the bytes of DEVICE spaces: memory on a GPU has no address here. Called from several
 * threads at once; bytes never reach beyond the space's object_bytes. 0 or -errno.
 */

#include <stddef.h>
#include <stdint.h>

#include "snapshot/pages/map.h"

struct page_device {
	int (*read)(void *arg, const struct page_space *space, uint64_t offset, void *to,
		    size_t bytes);
	int (*write)(void *arg, const struct page_space *space, uint64_t offset, const void *from,
		     size_t bytes);
	void *arg;
};

#endif
