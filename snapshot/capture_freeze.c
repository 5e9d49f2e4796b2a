/* SPDX-License-Identifier: Apache-2.0 */
/* The tree stands still, between two requests, and runs again. */
#include <errno.h>
#include <unistd.h>

#include "common/clock.h"
#include "snapshot/capture_internal.h"
#include "snapshot/task/xcomp.h"

#define RETRY_POLL_MS 2U
#define RETRY_MS      3000U /* PID 1 holds signals back meanwhile */
#define HOLD_MS	      5000U
#define GPU_LOCK_MS   10000U

/* what is submitted to the GPU must end, and that takes threads that run */
static int hold(struct capture *c, struct snap_error *err)
{
	int r = capture_gpu_lock(&c->gpu, c->config->root_pid, GPU_LOCK_MS, &c->journal, err);

	if (r == 0)
		r = task_hold_stop(c->config->root_pid, deadline_after_ms(HOLD_MS), &c->hold,
				   &c->tree, err);
	c->held = r == 0;
	c->gpu.checkpoint.stopped = c->held;
	c->frozen_at_ns = clock_now_ns();
	return r;
}

/* the driver's threads live on when the rest of the tree stands still */
int capture_note_gpu_runs(const struct capture *c, struct snap_error *err)
{
	int r = recovery_note_gpu_runs(&c->journal, &c->m.gpu);

	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the GPU's threads") : 0;
}

int capture_let_run(struct capture *c, struct snap_error *err)
{
	int r = c->held ? xcomp_put_configs(&c->m, err) : 0;

	if (r == 0)
		r = capture_note_gpu_runs(c, err);
	if (r == 0)
		r = gpu_checkpoint_unlock(&c->gpu.checkpoint, err);
	if (r < 0)
		return r;
	r = recovery_forget(&c->journal);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot clear the journal");
	/* nobody will ask for what lies there */
	c->gpu.files.is_saved = false;
	r = steps_fault("forgotten", err);
	if (r < 0)
		return r;
	if (c->held)
		r = task_hold_continue(c->config->root_pid, &c->hold, err);
	c->held = false;
	c->gpu.checkpoint.stopped = false;
	task_tree_done(&c->tree);
	task_hold_done(&c->hold);
	return r;
}

/* a busy engine is caught between two requests, sooner or later */
static int hold_quiet(struct capture *c, struct snap_error *err)
{
	uint64_t deadline = deadline_after_ms(RETRY_MS);

	for (;;) {
		struct audit_report report;
		uint64_t resident;
		int r = hold(c, err);

		if (r == 0)
			r = capture_audit(c, &c->tree, &report, err);
		if (r < 0)
			return r;
		if (capture_is_acceptable(c, &report)) {
			r = xcomp_collect(&c->tree, recovery_note_thread, &c->journal, &c->m, err);
			if (r != -EBUSY || deadline_left_ms(deadline) == 0)
				return r;
		} else if (!audit_only_transient(&report) || deadline_left_ms(deadline) == 0) {
			return capture_refuse(c, &report, err);
		}
		r = capture_let_run(c, err);
		(void)usleep(RETRY_POLL_MS * 1000);
		if (r == 0)
			r = capture_await_quiet(c, deadline, RETRY_POLL_MS, &report, &resident,
						err);
		if (r < 0)
			return r;
	}
}

int capture_step_freeze(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct criu_start start = {.outlives_us = true};
	int r = criu_session_open(&c->program, &start, &c->session, err);

	if (r < 0)
		return r;
	criu_session_use_cache(&c->session, c->kdat.dir_fd);
	return hold_quiet(c, err);
}

void capture_undo_freeze(void *context)
{
	struct capture *c = context;

	/*
	 * An orderly end lets the tree go. What a killed CRIU leaves, and memory that did not come
	 * back, are for the journal: the tree stays as it is.
	 */
	criu_session_close(&c->session);
	if (c->gpu.checkpoint.unsure)
		c->result->may_be_harmed = true;
	if (!c->result->may_be_harmed && capture_let_run(c, NULL) < 0)
		c->result->may_be_harmed = true;
	if (c->result->may_be_harmed)
		c->has_holes |= c->gpu.files.is_saved;
}
