/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_PROCESSES_H
#define SNAP_SNAPSHOT_GPU_PROCESSES_H

/* Which processes of a tree use CUDA, and the driver that they have loaded. */

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/gpu/driver.h"
#include "snapshot/manifest.h"
#include "snapshot/task/tree.h"

/*
 * Where the first process with a libcuda has it from. 1 and *ret; 0: nobody has one. A process that
 * has only linked it, and made no call, has one too. -EXDEV: two processes have different ones;
 * -ESTALE: its file is no longer at its path.
 */
int gpu_processes_library(const struct task_tree *tree, char ret[PATH_MAX], struct snap_error *err);

/*
 * Those that the driver can lock and checkpoint, ascending by pid. *ret and *ret_n are the
 * caller's to free(); NULL and 0: none. -ETIMEDOUT: the driver has not told of all by deadline_ns,
 * as it may not of one that is stopped.
 */
int gpu_processes_find(const struct gpu_driver *driver, const struct task_tree *tree,
		       uint64_t deadline_ns, struct manifest_gpu_process **ret, size_t *ret_n,
		       struct snap_error *err);

#endif
