/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CAPTURE_H
#define SNAP_SNAPSHOT_CAPTURE_H

/*
 * From a booted engine to a published snapshot: ready, warm-up, oracle, quiet, freeze, dump,
 * seal, publish. The engine stands still only during freeze and dump, and serves on whatever
 * happens.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "snapshot/manifest.h"
#include "snapshot/pages/codec.h"
#include "snapshot/recovery.h"
#include "snapshot/steps.h"
#include "snapshot/store.h"

/* what the capture needs of PID 1; arg is handed back */
struct capture_talk {
	/* wait until PID 1 heard the engine (notify descriptor, READY=1) */
	int (*wait_engine)(void *arg, uint64_t deadline_ns, struct snap_error *err);
	void (*ready)(void *arg, uint64_t cold_boot_ms);
	/* signals for the engine are held back from here on; device_bytes: capture_gpu_freezes() */
	int (*freeze)(void *arg, uint64_t device_bytes, struct snap_error *err);
	/* PID 1 has them from here to thawed(); NULL: nobody has */
	int (*keep)(void *arg, const struct recovery_files *files, struct snap_error *err);
	/* ended: the engine is gone on purpose */
	void (*thawed)(void *arg, bool ended);
	/*
	 * try the sealed generation before it is published: 0 it answers (and is marked verified),
	 * positive: not tried, negative: it does not. NULL: not tried
	 */
	int (*verify)(void *arg, const struct manifest *m, struct snap_error *err);
	void *arg;
};

/* the capture waits for the engine from its start, so it can tell how long that took */
#define CAPTURE_TIMES_COLD_BOOT UINT64_MAX

struct capture_config {
	const char *store_path;
	const char *generation; /* NULL: the next number, published; else as named, not published */
	const char *criu;	/* NULL: search */
	pid_t root_pid;
	bool end_engine; /* the dump ends the tree */
	bool evacuate;	 /* memory into page files, else all into CRIU's images */
	enum codec_choice compress;
	bool gpu_storage; /* device memory by CustomStorage, else by the driver into the processes
			   */
	struct engine_config engine;
	struct string_list includes;
	int journal_fd;	       /* of PID 1 (snapshot/recovery.h), FD_NONE: none */
	char *stdio[3];	       /* CRIU's names of the engine's pipes, NULL: not ours; borrowed */
	uint64_t cold_boot_ms; /* what is known of it; 0: nothing, and nothing can be any more */
	uint64_t ready_timeout_ms;
	uint64_t quiet_timeout_ms; /* waiting for open connections to end */
	uint64_t dump_timeout_ms;
	struct capture_talk talk;
};

struct capture_result {
	char generation[STORE_NAME_MAX];
	bool may_be_harmed; /* CRIU ended in the middle: the engine must be looked at */
	struct step_times times;
	uint64_t snapshot_bytes;
	uint64_t frozen_ms;
	bool verified;
	bool released;		       /* the snapshot lacks memory that the engine gave back */
	struct snap_error release_err; /* why not; empty: there was nothing to ask for */
	struct snap_error verify_err;  /* why it was not tried */
	struct snap_error
		cache_err; /* why the kernel-feature cache could not be kept; empty: kept */
};

/* *ret is filled in either case; the store is as before when it fails */
int capture_run(const struct capture_config *config, struct capture_result *ret,
		struct snap_error *err);

#endif
