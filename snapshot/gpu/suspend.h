/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_SUSPEND_H
#define SNAP_SNAPSHOT_GPU_SUSPEND_H

/*
 * What is about to be killed closes its GPUs first, whoever has restored it: see
 * gpu_checkpoint_put_away(). Nothing is known of the processes but where they are.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/gpu/checkpoint.h"

/*
 * Every process below top, but for ourselves, that uses CUDA is checkpointed and stopped; *ret_n
 * of them. Where nobody has a CUDA driver loaded we load none. All calls end by deadline_ns.
 */
int gpu_suspend(pid_t top, uint64_t deadline_ns, size_t *ret_n, struct snap_error *err);

#endif
