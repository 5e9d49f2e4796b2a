/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CGROUP_H
#define SNAP_SNAPSHOT_CGROUP_H

/* How much memory this container may use, from its control groups (v1 and v2) and the machine. */

#include <stdint.h>

#include "common/error.h"

/*
 * root_fd is the root folder ("/"; a test gives another). *ret_limit is the smallest limit on the
 * way from our group to the visible root, or the machine's memory; *ret_available what is left of
 * it, page cache that can be dropped counted as free.
 */
int cgroup_memory(int root_fd, uint64_t *ret_limit, uint64_t *ret_available,
		  struct snap_error *err);

#endif
