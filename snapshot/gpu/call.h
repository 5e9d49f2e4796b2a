/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_CALL_H
#define SNAP_SNAPSHOT_GPU_CALL_H

/*
 * One call of the driver about one process, under a deadline of ours: the driver's own time-outs do
 * not cover a target that is stopped or stuck, so each call has a thread, and one that does not
 * come back is left to itself. After that nothing about its process can be known: give it up.
 */

#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/gpu/driver.h"
#include "snapshot/gpu/restore_threads.h"

enum gpu_operation {
	GPU_OPERATION_FIND, /* its restore thread, if it uses CUDA */
	GPU_OPERATION_STATE,
	GPU_OPERATION_LOCK,
	GPU_OPERATION_CHECKPOINT,
	GPU_OPERATION_RESTORE,
	GPU_OPERATION_UNLOCK,
	GPU_OPERATION_COMPLETE, /* of CustomStorage */
	GPU_OPERATION_MAX_,
};

#define GPU_PAIRS_MAX GPU_DEVICES_MAX

struct gpu_call {
	const struct gpu_driver *driver;
	enum gpu_operation operation;
	pid_t pid;
	uint32_t lock_timeout_ms;     /* lock; at least 1 */
	const struct gpu_pair *pairs; /* restore; NULL: none */
	uint32_t n_pairs;	      /* at most GPU_PAIRS_MAX */
	/* checkpoint, restore: by CustomStorage, what the driver gives for it; NULL: without */
	struct gpu_storage_info **ret_info;
	void *handle; /* complete */
	uint64_t deadline_ns;
	struct restore_threads
		*threads; /* that run meanwhile and want to be seen to; may be NULL */
};

/*
 * 0 and *ret_state (of GPU_OPERATION_STATE; may be NULL); -ETIMEDOUT: no answer by the deadline,
 * -EBUSY: the lock's own time-out, the process runs on; -EPROTO: another state than the operation
 * wants; -ENOSYS: not supported, the process is as before; -EPERM; -ESRCH: no such process, or none
 * that uses CUDA; -EIO: all else. err has the driver's word for it, with SNAP_E_GPU.
 */
int gpu_call(const struct gpu_call *call, enum gpu_state *ret_state, struct snap_error *err);

/*
 * Does the process use CUDA? 1 and *ret_tid, its restore thread; 0: no, it is gone, or nothing can
 * be known of it; -ETIMEDOUT as above, -EAGAIN or -ENOMEM: no thread for the call.
 */
int gpu_call_find(const struct gpu_driver *driver, pid_t pid, uint64_t deadline_ns, int *ret_tid,
		  struct snap_error *err);

#endif
