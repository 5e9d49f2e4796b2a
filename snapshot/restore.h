/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_RESTORE_H
#define SNAP_SNAPSHOT_RESTORE_H

/*
 * From a snapshot to a running tree. CRIU starts first and waits; the gate decides meanwhile;
 * digests of all images are computed on a thread beside CRIU and are complete before the tree
 * runs. A restored tree is left stopped until PID 1 holds its root.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "engine/engine.h"
#include "snapshot/gate.h"
#include "snapshot/pages/fill.h"
#include "snapshot/steps.h"
#include "snapshot/store.h"
#include "snapshot/task/inherited.h"

/* outcome of restore_run(): the gate says no, err->msg holds every reason */
#define RESTORE_REFUSED 1

struct restore_talk {
	void (*budget)(void *arg, uint64_t timeout_ms); /* the whole attempt may last this long */
	/* the tree is there and stopped; returns 0 once PID 1 holds its root */
	int (*restored)(void *arg, pid_t root, struct snap_error *err);
	/*
	 * the driver is about to open GPUs for the stopped tree, which has so much device memory;
	 * returns 0 once PID 1 knows
	 */
	int (*gpu)(void *arg, uint64_t device_bytes, struct snap_error *err);
	void (*ready)(void *arg);
	void *arg;
};

struct restore_config {
	const char *store_path;
	const char *generation; /* NULL: the current one */
	const char *criu;	/* NULL: search */
	struct engine_config engine;
	struct gate_accept accept;
	int stdio[3];	/* the engine's ends of PID 1's pipes */
	int journal_fd; /* for what is put back, FD_NONE: none */
	struct fill_options fill;
	bool check_oracle;   /* also when the snapshot is verified */
	uint64_t timeout_ms; /* 0: restore_budget_ms() */
	struct restore_talk talk;
};

#define RESTORE_BUDGET_MIN_MS	  5000U
#define RESTORE_BUDGET_UNKNOWN_MS 60000U  /* nobody knows how long a cold boot takes */
#define RESTORE_BUDGET_MAX_MS	  600000U /* a first boot may have fetched its model */

struct restore_result {
	char generation[STORE_NAME_MAX];
	pid_t root_pid;
	bool cache_hit; /* CRIU's kernel-feature cache */
	bool gpu_open;	/* processes may have their devices open; after a failure: still */
	uint64_t snapshot_bytes;
	uint64_t cold_boot_ms;	 /* as the manifest has it */
	struct fill_result fill; /* bytes 0: no page files */
	size_t n_inherited;	 /* mappings that CRIU may have restored wrongly */
	struct inherited_result inherited;
	struct step_times times;
};

/* how long a wake of m may last unless somebody says otherwise: half the cold boot, within limits
 */
uint64_t restore_budget_ms(const struct manifest *m);

int restore_run(const struct restore_config *config, struct restore_result *ret,
		struct snap_error *err);

#endif
