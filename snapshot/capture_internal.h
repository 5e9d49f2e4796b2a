/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CAPTURE_INTERNAL_H
#define SNAP_SNAPSHOT_CAPTURE_INTERNAL_H

/* What the parts of a capture share; its order is in capture.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot/capture.h"
#include "snapshot/capture_gpu.h"
#include "snapshot/criu/kdat.h"
#include "snapshot/criu/session.h"
#include "snapshot/evacuate.h"
#include "snapshot/store.h"
#include "snapshot/task/audit.h"
#include "snapshot/task/hold.h"
#include "snapshot/task/tree.h"

struct capture {
	const struct capture_config *config;
	struct capture_result *result;
	struct engine engine;
	struct criu_program program;
	struct criu_session session;
	struct kdat kdat;
	struct store store;
	int gen_fd;
	uint64_t copies_max; /* bytes of copied files that there is memory for */
	struct manifest m;
	bool begun;	  /* a generation of ours is in the store */
	bool is_idle;	  /* no connection was open */
	size_t n_sockets; /* when the tree was quiet */
	bool announced;	  /* PID 1 holds signals back */
	bool released;	  /* the engine may be without memory of its own */
	bool held;	  /* the tree is in group-stop */
	struct task_hold hold;
	struct task_tree tree; /* while held */
	struct capture_gpu gpu;
	struct evacuation evacuation;
	bool has_holes; /* memory did not come back: recovery needs the generation */
	struct recovery_journal journal;
	uint64_t frozen_at_ns;
	struct snap_error notify_err; /* what went wrong inside a notification */
};

/* steps, each with what undoes it (snapshot/steps.h) */
int capture_step_engine(void *context, struct snap_error *err);
int capture_step_rights(void *context, struct snap_error *err);
int capture_step_ready(void *context, struct snap_error *err);
int capture_step_gpu_start(void *context, struct snap_error *err);
int capture_step_warm_up(void *context, struct snap_error *err);
int capture_step_oracle(void *context, struct snap_error *err);
int capture_step_store(void *context, struct snap_error *err);
void capture_undo_store(void *context);
int capture_step_quiet(void *context, struct snap_error *err);
int capture_step_release(void *context, struct snap_error *err);
void capture_undo_release(void *context);
int capture_step_freeze(void *context, struct snap_error *err);
void capture_undo_freeze(void *context);
int capture_step_gpu(void *context, struct snap_error *err);
void capture_undo_gpu(void *context);
int capture_step_evacuate(void *context, struct snap_error *err);
void capture_undo_evacuate(void *context);
int capture_step_dump(void *context, struct snap_error *err);
int capture_step_resume(void *context, struct snap_error *err);
int capture_step_reclaim(void *context, struct snap_error *err);
int capture_step_seal(void *context, struct snap_error *err);
int capture_step_verify(void *context, struct snap_error *err);
int capture_step_publish(void *context, struct snap_error *err);

/* capture_quiet.c: what CRIU would refuse in this tree now */
int capture_audit(const struct capture *c, const struct task_tree *tree,
		  struct audit_report *report, struct snap_error *err);
/* the same of the tree as it is, with the bytes that it has resident */
int capture_audit_once(struct capture *c, struct audit_report *report, uint64_t *ret_resident,
		       struct snap_error *err);
/* 0 with the last audit's findings: none, lasting ones, or the deadline has passed */
int capture_await_quiet(struct capture *c, uint64_t deadline_ns, unsigned int poll_ms,
			struct audit_report *report, uint64_t *ret_resident,
			struct snap_error *err);
/* with NET_ADMIN an open connection is dumped, and closed at the wake */
bool capture_is_acceptable(const struct capture *c, const struct audit_report *report);
int capture_refuse(const struct capture *c, const struct audit_report *report,
		   struct snap_error *err);

/* capture_freeze.c */
/* the driver's threads live on when the rest of the tree stands still */
int capture_note_gpu_runs(const struct capture *c, struct snap_error *err);
int capture_let_run(struct capture *c, struct snap_error *err);

#endif
