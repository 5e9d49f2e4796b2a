/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_STAGING_H
#define SNAP_SNAPSHOT_GPU_STAGING_H

/*
 * Where the driver has put device memory at a checkpoint: into ordinary private memory of the
 * process, which is what /proc/PID/maps has more of afterwards. A new mapping may have merged with
 * an old neighbour, so ranges are compared and not lines. The page files take all of it as they
 * take other memory; this only tells which it is.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/manifest.h"

struct address_range {
	uint64_t start;
	uint64_t end;
};

struct address_ranges {
	struct address_range *items; /* ascending, apart */
	size_t n;
	size_t room;
};

/* private, anonymous, readable and writable memory of a process that is stopped */
int staging_look(pid_t pid, struct address_ranges *ret, struct snap_error *err);

/* what after has and before has not; appended to gpu->staging; *ret_bytes in all. 0 or -ENOMEM */
int staging_difference(const struct address_ranges *before, const struct address_ranges *after,
		       pid_t pid, struct manifest_gpu *gpu, uint64_t *ret_bytes);

void address_ranges_done(struct address_ranges *ranges); /* idempotent */

#endif
