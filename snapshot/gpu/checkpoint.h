/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_CHECKPOINT_H
#define SNAP_SNAPSHOT_GPU_CHECKPOINT_H

/*
 * The driver's lock, checkpoint, restore and unlock, for all CUDA processes of a tree together:
 * ranks that wait for each other must all be locked before one is checkpointed, and all be restored
 * before one is unlocked.
 *
 *	running   --lock-->   locked   --checkpoint-->   checkpointed
 *	running  <--unlock--  locked  <--restore-------  checkpointed
 *
 * By CustomStorage (storage.h) checkpoint and restore have a state of their own between begin and
 * complete, in which somebody saves or loads what all processes have in device memory.
 *
 * Where a process is after a call that failed is asked, never assumed. Between checkpoint and
 * restore the tree must be in group-stop: a thread that runs then and makes a CUDA call may crash.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/gpu/call.h"
#include "snapshot/gpu/driver.h"
#include "snapshot/gpu/storage.h"
#include "snapshot/manifest.h"

#define GPU_PUT_AWAY_MS 10000U /* for gpu_checkpoint_put_away(), and the copy besides */

/* what is in the windows of storage, all of it, to where it is kept and back; 0 or -errno */
struct gpu_content {
	int (*save)(void *arg, const struct gpu_storage *storage, struct snap_error *err);
	int (*load)(void *arg, const struct gpu_storage *storage, struct snap_error *err);
	void *arg;
};

struct gpu_checkpoint {
	const struct gpu_driver *driver;
	struct manifest_gpu *manifest; /* not ours; the processes, and where staging is noted */
	bool by_storage;	    /* CustomStorage; else the driver copies into the processes */
	struct gpu_content content; /* by_storage; load NULL: nothing has been saved */
	struct gpu_storage storage; /* begun, and after a failure not completed */
	uint64_t storage_bytes;	    /* by_storage: of device memory, once it is known */
	uint64_t take_deadline_ns;  /* for gpu_checkpoint_take(), and the copy besides */
	uint64_t end_ns;	    /* no call lasts longer than this; 0: each has its own time */
	bool stopped;		    /* the tree is in group-stop; else it may be */
	bool locked;		    /* all are, or more is done already */
	bool checkpointed;	    /* all are */
	bool unsure; /* a way back was not possible: some process is not what it was */
};

/* device memory of all processes, as far as the manifest knows */
uint64_t gpu_checkpoint_bytes(const struct gpu_checkpoint *gpu);

/*
 * The tree runs: each waits up to timeout_ms for its GPU work to end. All or none: on failure those
 * that were locked are unlocked (-EBUSY: one has work that does not end; -ECANCELED: asked to stop;
 * the tree runs on).
 */
int gpu_checkpoint_lock(struct gpu_checkpoint *gpu, uint32_t timeout_ms, struct snap_error *err);

/*
 * Locked, and in group-stop. Device memory is in the processes' own then, their devices are closed;
 * manifest->staging, and staging_bytes of each process, say where. All or none; by_storage, what
 * was begun and cannot be saved is lost: gpu->unsure.
 */
int gpu_checkpoint_take(struct gpu_checkpoint *gpu, struct snap_error *err);

/*
 * The reverse of the two, both in group-stop; what is not locked or checkpointed is left as it is.
 * pairs: which GPU has become which, NULL: each is the one it was. An error is final: gpu->unsure.
 */
int gpu_checkpoint_restore(struct gpu_checkpoint *gpu, const struct gpu_pair *pairs,
			   uint32_t n_pairs, struct snap_error *err);
int gpu_checkpoint_unlock(struct gpu_checkpoint *gpu, struct snap_error *err);

/*
 * After the death of another worker: from wherever each process is back to running. Stopped or not.
 * One that has ended is taken out of gpu->manifest. By_storage, what was begun and not completed
 * cannot be mended, and is told at once.
 */
int gpu_checkpoint_mend(struct gpu_checkpoint *gpu, struct snap_error *err);

/*
 * Before processes that were restored are killed: some drivers hang when one dies with its device
 * open (NVIDIA/cuda-checkpoint #53). From wherever they are to checkpointed and stopped, as far as
 * it goes until deadline_ns. 0: all are; else the first failure, with the others tried as well.
 */
int gpu_checkpoint_put_away(struct gpu_checkpoint *gpu, uint64_t deadline_ns,
			    struct snap_error *err);

/* what that may take, by gpu_checkpoint_bytes() */
uint64_t gpu_put_away_ms(const struct gpu_checkpoint *gpu);

void gpu_checkpoint_done(struct gpu_checkpoint *gpu); /* idempotent; changes no process */

#endif
