/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_DRIVER_H
#define SNAP_SNAPSHOT_GPU_DRIVER_H

/*
 * NVIDIA's user-space driver, libcuda.so.1, loaded when a tree turns out to use it. Never in PID 1.
 * Its initialisation (cuInit) takes seconds on a large machine, so it runs on a thread from the
 * moment the library is known.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/gpu/cuda_abi.h"
#include "snapshot/gpu/errand.h"

#define GPU_DEVICES_MAX 64

/* what CustomStorage takes besides; all NULL before CUDA 13.4 (driver 615) */
struct gpu_storage_calls {
	int (*complete)(void *handle);
	int (*retain_context)(void **ret_context, int device);
	int (*use_context)(void *context);
	int (*stream_context)(void *stream, void **ret_context);
	int (*stream_wait)(void *stream);
	int (*copy_out)(void *to, uint64_t address, size_t bytes, void *stream);
	int (*copy_in)(uint64_t address, const void *from, size_t bytes, void *stream);
	int (*fill)(uint64_t address, unsigned char value, size_t bytes, void *stream);
};

/* ours on each GPU, to the end of this process: the driver wants them as long as the engine lives
 */
struct gpu_context {
	void *context;
	struct gpu_uuid uuid;
};

struct gpu_contexts {
	struct gpu_context items[GPU_DEVICES_MAX];
	uint32_t n;
};

struct gpu_driver {
	void *library; /* NULL: not open */
	int version;   /* of CUDA: 13000 */
	/* results are enum gpu_result, and others of cuda.h */
	int (*init)(unsigned int flags);
	int (*get_error_name)(int result, const char **ret);
	int (*get_restore_thread)(int pid, int *ret_tid);
	int (*get_state)(int pid, int *ret_state);
	int (*lock)(int pid, struct gpu_lock_args *args);
	int (*checkpoint)(int pid, struct gpu_checkpoint_args *args);
	int (*restore)(int pid, struct gpu_restore_args *args);
	int (*unlock)(int pid, struct gpu_unlock_args *args);
	int (*device_count)(int *ret);
	int (*device_get)(int *ret, int ordinal);
	int (*device_name)(char *ret, int size, int device);
	int (*device_uuid)(struct gpu_uuid *ret, int device);
	int (*device_memory)(size_t *ret_bytes, int device);
	int (*device_attribute)(int *ret, int attribute, int device);
	struct gpu_storage_calls storage;

	struct errand *init_errand; /* cuInit; NULL: not started */
};

/*
 * Load the library at path, which must belong to root or us and be writable for nobody else, and
 * look up what we call. SNAP_E_GPU: not usable, or older than the checkpoint calls (driver 570).
 */
int gpu_driver_open(const char *path, struct gpu_driver *ret, struct snap_error *err);

bool gpu_driver_has_storage(const struct gpu_driver *driver);

/*
 * cuInit, in the background, once; 0 or negative errno when no thread can be made. with_contexts:
 * and the primary context of every GPU, which takes some of its memory; only where there is
 * CustomStorage
 */
int gpu_driver_start(struct gpu_driver *driver, bool with_contexts, struct snap_error *err);

/* wait for it; -ETIMEDOUT when it is not through by then, -EIO with what it said */
int gpu_driver_wait(struct gpu_driver *driver, uint64_t deadline_ns, struct snap_error *err);

/* after gpu_driver_wait(), until gpu_driver_close() */
const struct gpu_contexts *gpu_driver_contexts(const struct gpu_driver *driver);

/* "CUDA_ERROR_ILLEGAL_STATE", or the number as text in buf */
const char *gpu_driver_result_name(const struct gpu_driver *driver, int result, char *buf,
				   size_t size);

/* idempotent; the library stays loaded, for its threads do not end */
void gpu_driver_close(struct gpu_driver *driver);

#endif
