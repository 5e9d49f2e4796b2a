/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_RESTORE_GPU_H
#define SNAP_SNAPSHOT_RESTORE_GPU_H

/*
 * What a wake has to do with GPUs: nothing, where the snapshot has none. Else the driver starts in
 * us as soon as the manifest is read, and gives the processes their devices back once their memory
 * is whole and checked, before anything runs.
 */

#include <stdint.h>

#include "common/error.h"
#include "snapshot/device_files.h"
#include "snapshot/gpu/checkpoint.h"
#include "snapshot/gpu/driver.h"
#include "snapshot/gpu/gpu_host.h"
#include "snapshot/manifest.h"

struct restore_gpu {
	struct gpu_driver driver;
	struct gpu_checkpoint checkpoint;
	struct gpu_host *host; /* as the gate has found it; NULL: it did not look, or found none */
	struct device_files files; /* of a snapshot that has them; the caller's until done */
	bool touched;		   /* some process may have its devices open again */
};

/*
 * Load the driver and start it in the background. Changes the environment of this process: who
 * compares that with the snapshot's takes a copy before. SNAP_E_GPU, too, where the snapshot has
 * device files and the driver takes none.
 */
int restore_gpu_start(struct restore_gpu *gpu, struct manifest_gpu *manifest,
		      struct snap_error *err);

/* the tree is in group-stop, its memory complete; it stays stopped, unlocked */
int restore_gpu_run(struct restore_gpu *gpu, uint64_t deadline_ns, struct snap_error *err);

/* the tree is about to be killed: see gpu_checkpoint_put_away(); touched if it did not work */
void restore_gpu_undo(struct restore_gpu *gpu);

void restore_gpu_done(struct restore_gpu *gpu); /* idempotent */

#endif
