/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_ROOM_H
#define SNAP_SNAPSHOT_ROOM_H

/*
 * What a capture takes of a container's memory beside the engine's own. It is asked for before
 * anything is frozen: where it is not there, the kernel kills somebody in the middle, and that is
 * mostly the engine.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/* CRIU, the worker and page tables, beside the engine: of a capture as of a wake */
#define ROOM_WORKSPACE (64ULL << 20)

struct room_load {
	uint64_t stored_bytes; /* content that the snapshot holds, at most */
	uint64_t
		device_bytes; /* of GPUs: the driver puts them into the tree, and they are stored */
	bool store_is_memory; /* what is written stays charged, on a disk it can be dropped */
};

/* UINT64_MAX when it is more than that */
uint64_t room_needed(const struct room_load *load);

/*
 * 0 and what is left, or -ENOMEM with SNAP_E_PREFLIGHT and both numbers. limit: the one that
 * available is of.
 */
int room_check(const struct room_load *load, uint64_t limit, uint64_t available, uint64_t *ret_left,
	       struct snap_error *err);

#endif
