/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CAPTURE_GPU_H
#define SNAP_SNAPSHOT_CAPTURE_GPU_H

/*
 * What a capture has to do with GPUs: nothing, where no process of the tree has the CUDA driver
 * loaded. Else the driver starts in us while the engine is asked this and that, all CUDA processes
 * are locked while the tree still runs, and checkpointed once it stands still.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/device_files.h"
#include "snapshot/gpu/checkpoint.h"
#include "snapshot/gpu/driver.h"
#include "snapshot/gpu/gpu_host.h"
#include "snapshot/manifest.h"
#include "snapshot/recovery.h"

/* where device memory goes; all is borrowed until capture_gpu_done() */
struct capture_gpu_place {
	int gen_fd;
	const char *store_path;
	const char *generation;
	const struct recovery_journal *journal;
	enum codec_choice compress;
};

struct capture_gpu {
	bool by_storage; /* asked for: CustomStorage, or no capture; to be set before all calls */
	struct capture_gpu_place place;
	struct device_files files;
	bool used; /* some process has the driver loaded; later: and has begun to use it */
	char library[PATH_MAX];
	struct snap_error why; /* the driver cannot be used, because; empty: it can */
	struct gpu_driver driver;
	struct gpu_checkpoint checkpoint;
	struct gpu_host *host; /* before the checkpoint; NULL: NVML is not to be had */
	int32_t *pids;	       /* of the CUDA processes, ascending */
};

/* find the driver that the tree has loaded, load it too and start it */
int capture_gpu_start(struct capture_gpu *gpu, pid_t root, struct manifest_gpu *manifest,
		      struct snap_error *err);

/* the driver is there; fills the manifest's part if some process uses CUDA */
int capture_gpu_await(struct capture_gpu *gpu, pid_t root, uint64_t deadline_ns,
		      struct snap_error *err);

/* how much the checkpoint will put into the processes, at most; 0: none, or not known */
uint64_t capture_gpu_device_bytes(const struct capture_gpu *gpu);

/* 0: no process uses CUDA; else the driver will lock some, and the same; 1: not known */
uint64_t capture_gpu_freezes(const struct capture_gpu *gpu);

/* by_storage: a full disk is found while all can still be taken back */
int capture_gpu_reserve(struct capture_gpu *gpu, const struct capture_gpu_place *place,
			struct snap_error *err);

/*
 * The tree runs: find its CUDA processes, note them in the journal, lock them all. -EBUSY: one has
 * work that does not end within timeout_ms. capture_gpu_unlock() takes it back, in group-stop.
 */
int capture_gpu_lock(struct capture_gpu *gpu, pid_t root, uint32_t timeout_ms,
		     const struct recovery_journal *journal, struct snap_error *err);

/* gpu_checkpoint_take(), and how much device memory that has given back */
int capture_gpu_take(struct capture_gpu *gpu, struct snap_error *err);

/* idempotent; the driver stays loaded. What a broken restore left begun stays begun */
void capture_gpu_done(struct capture_gpu *gpu);

#endif
