/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_STORAGE_H
#define SNAP_SNAPSHOT_GPU_STORAGE_H

/*
 * CustomStorage of CUDA 13.4 (driver 615): at a checkpoint and at a restore the driver maps all
 * device memory of a process into ours, one window a GPU, and we copy. There is no way back from
 * such an operation but its end: what was not copied by then is lost.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/gpu/driver.h"
#include "snapshot/manifest.h"

/* device memory of one process on one GPU */
struct gpu_window {
	pid_t pid;
	uint32_t device; /* its number in the manifest */
	uint64_t address;
	uint64_t bytes;
	void *stream;
	void *context; /* ours, that the stream is of */
};

/* begun for a process, and not complete */
struct gpu_begun {
	pid_t pid;
	void *handle;
};

struct gpu_storage {
	struct gpu_storage_calls calls;
	struct gpu_window *windows;
	size_t n_windows;
	struct gpu_begun *begun;
	size_t n_begun;
};

/* which GPU of the manifest is which of now; pairs are in its order, or there are none */
struct gpu_places {
	const struct manifest_gpu *manifest;
	const struct gpu_pair *pairs;
	uint32_t n_pairs;
};

/*
 * What a call of the driver has given for pid. It is noted as begun, unless info is NULL or there
 * is no memory: nobody can complete it then. SNAP_E_GPU when its windows make no sense: a GPU that
 * the manifest does not name, or two of one.
 */
int gpu_storage_add(struct gpu_storage *storage, const struct gpu_driver *driver, pid_t pid,
		    const struct gpu_storage_info *info, const struct gpu_places *places,
		    struct snap_error *err);

/* from any thread; they return when the bytes are there. 0 or -EIO */
int gpu_window_read(const struct gpu_storage *storage, const struct gpu_window *window,
		    uint64_t offset, void *to, size_t bytes);
int gpu_window_write(const struct gpu_storage *storage, const struct gpu_window *window,
		     uint64_t offset, const void *from, size_t bytes);

/* all of it zeros */
int gpu_window_clear(const struct gpu_storage *storage, const struct gpu_window *window);

void gpu_storage_done(struct gpu_storage *storage); /* idempotent; completes nothing */

#endif
