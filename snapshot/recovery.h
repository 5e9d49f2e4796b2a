/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_RECOVERY_H
#define SNAP_SNAPSHOT_RECOVERY_H

/*
 * What a capture does to a stopped tree, noted before it is done in a memfd that PID 1 owns: the
 * registers and signal mask of every thread, that memory is dropped and where its content lies, and
 * which processes the GPU's driver has locked or checkpointed, and where their device memory lies.
 * A capture that lives takes everything back itself. After one that was killed,
 * another worker reads the journal and makes the tree whole, while it is still stopped.
 *
 * The journal is empty whenever the tree runs (docs/formats/worker-protocol.md).
 */

#include <stdbool.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/manifest.h"
#include "snapshot/store.h"
#include "snapshot/task/injector.h"

struct recovery_journal {
	int fd; /* FD_NONE: nobody keeps one, every note is a success */
};

/* what a refill needs, open: FD_NONE each, or all of them */
struct recovery_files {
	int folder_fd; /* of the generation, held (snapshot/generation.h) */
	int map_fd;
	int data_fd;
};

/* an injector_note_fn; arg is a struct recovery_journal */
int recovery_note_thread(const struct injector *injector, void *arg);

/*
 * Before the GPU's driver locks the processes of gpu: all of them, where the driver is, and for
 * each how much device memory the tree has at most (staging_bytes); 0 or -errno
 */
int recovery_note_gpu(const struct recovery_journal *journal, const struct manifest_gpu *gpu);

/*
 * Before the driver's own threads in the processes of gpu run while the tree is stopped: what was
 * noted of their registers is of the past from then on; 0 or -errno
 */
int recovery_note_gpu_runs(const struct recovery_journal *journal, const struct manifest_gpu *gpu);

/*
 * Before the driver lets go of device memory that it gave us to copy: all of it is complete in
 * device.map and device.dat of this generation; 0 or -errno
 */
int recovery_note_devices(const struct recovery_journal *journal, const char *store_path,
			  const char *generation, const struct manifest_gpu *gpu);

/* before memory is dropped: its content is complete in this generation; 0 or -errno */
int recovery_note_dropped(const struct recovery_journal *journal, const char *store_path,
			  const char *generation);

/* … and it is back: the generation may go; 0 or -errno */
int recovery_note_refilled(const struct recovery_journal *journal);

/* the tree is whole and about to run; 0 or -errno */
int recovery_forget(const struct recovery_journal *journal);

/*
 * Make the stopped tree whole again: memory first, then registers; then remove the half-made
 * generation, which nobody needs any more. 0: it may run. The journal is left as it is. Memory
 * comes from the files where they are given, else from where the journal says that they lie.
 */
int recovery_run(int journal_fd, const struct recovery_files *files, struct snap_error *err);

#endif
