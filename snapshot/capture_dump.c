/* SPDX-License-Identifier: Apache-2.0 */
/* While the tree stands still: its memory to the page files, the rest to CRIU's images. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/capture_internal.h"
#include "snapshot/carried.h"
#include "snapshot/task/inherited.h"
#include "snapshot/task/sockets.h"

#define CRIU_LOG_LEVEL 2

/*
 * Device memory into the processes, devices closed. What a checkpoint leaves open belongs to nobody
 * who was checkpointed: the audit names it.
 */
int capture_step_gpu(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct audit_report report;
	int r;

	if (!c->gpu.checkpoint.locked)
		return 0;
	c->gpu.checkpoint.take_deadline_ns = deadline_after_ms(c->config->dump_timeout_ms);
	r = capture_note_gpu_runs(c, err);
	if (r == 0)
		r = capture_gpu_take(&c->gpu, err);
	if (r < 0)
		return r;
	task_tree_done(&c->tree);
	r = task_tree_collect(c->config->root_pid, &c->tree, err);
	if (r == 0)
		r = capture_audit(c, &c->tree, &report, err);
	if (r == 0 && !capture_is_acceptable(c, &report))
		r = capture_refuse(c, &report, err);
	return r;
}

static int restore_gpu(struct capture *c, struct snap_error *err)
{
	int r = capture_note_gpu_runs(c, err);

	return r == 0 ? gpu_checkpoint_restore(&c->gpu.checkpoint, NULL, 0, err) : r;
}

void capture_undo_gpu(void *context)
{
	struct capture *c = context;

	/* one whose memory has holes has no device memory to give back: recovery fills it first */
	if (!c->result->may_be_harmed && restore_gpu(c, NULL) < 0)
		c->result->may_be_harmed = true;
}

int capture_step_evacuate(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct evacuate_config config = {
		.write = {.compress = c->config->compress},
		.store_path = c->config->store_path,
		.generation = c->result->generation,
		.journal = &c->journal,
		.keep = c->config->talk.keep,
		.arg = c->config->talk.arg,
	};
	int r = inherited_collect(&c->tree, &c->m, err);

	if (r < 0 || !c->config->evacuate)
		return r;
	r = evacuate(&c->tree, c->gen_fd, &config, &c->evacuation, err);
	/* the journal knows what the threads were, so recovery is to have a look at them */
	if (c->evacuation.unsure)
		c->result->may_be_harmed = true;
	return r;
}

/* whatever has happened since: the engine's memory comes back first */
void capture_undo_evacuate(void *context)
{
	struct capture *c = context;

	criu_session_close(&c->session);
	if (evacuation_refill(&c->evacuation, c->gen_fd, &c->journal, NULL) < 0) {
		c->result->may_be_harmed = true;
		c->has_holes = c->evacuation.dropped;
	}
	evacuation_done(&c->evacuation);
}

/* pids and rights of the stopped tree */
static int note_tree(struct capture *c, const struct task_tree *tree, struct snap_error *err)
{
	c->m.root_pid = c->config->root_pid;
	c->m.tree_has_filter = tree->has_seccomp_filter;
	c->m.resident_bytes = tree->resident_bytes;
	c->m.pids = calloc(tree->n_ids, sizeof(*c->m.pids));
	if (!c->m.pids)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	memcpy(c->m.pids, tree->ids, tree->n_ids * sizeof(*c->m.pids));
	c->m.n_pids = tree->n_ids;
	return 0;
}

static int on_notify(const char *script, pid_t pid, void *arg)
{
	struct capture *c = arg;
	int r;

	(void)pid;
	if (strcmp(script, "pre-dump") == 0)
		return steps_fault("dump-begun", &c->notify_err);
	if (strcmp(script, "post-dump") != 0)
		return 0;
	r = note_tree(c, &c->tree, &c->notify_err);
	if (r == 0)
		r = sockets_listeners(&c->tree, &c->m, &c->notify_err);
	if (r == 0)
		r = carried_collect(&c->tree, &c->config->includes, c->gen_fd, c->copies_max, &c->m,
				    &c->notify_err);
	return r == 0 ? steps_fault("dump-written", &c->notify_err) : r;
}

int capture_step_dump(void *context, struct snap_error *err)
{
	struct capture *c = context;
	snap_cleanup_close int images_fd = FD_NONE;
	struct criu_options options = {
		.work_fd = -1,
		.unprivileged = c->m.unprivileged,
		.net_admin = !c->m.unprivileged,
		.log_level = CRIU_LOG_LEVEL,
		.deadline_ns = deadline_after_ms(c->config->dump_timeout_ms),
		.pid = c->config->root_pid,
		.leave_running = !c->config->end_engine,
	};
	int r;

	images_fd = openat(c->gen_fd, "criu", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (images_fd < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot open criu/");
	options.images_fd = images_fd;
	r = criu_session_dump(&c->session, &options, on_notify, c, err);
	if (r == -ECANCELED) {
		if (err)
			*err = c->notify_err;
		return r;
	}
	/* without CRIU's last word the tree may hold its parasite */
	if (r < 0)
		c->result->may_be_harmed = !c->session.answered;
	return r;
}

/* the engine goes on, or is at its end */
int capture_step_resume(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = 0;

	if (c->config->end_engine)
		c->held = false;
	else
		r = evacuation_refill(&c->evacuation, c->gen_fd, &c->journal, err);
	if (r == 0 && !c->config->end_engine)
		r = restore_gpu(c, err);
	/* CRIU has ended them: there is nothing to unlock */
	if (c->config->end_engine)
		c->gpu.checkpoint.locked = false;
	if (r == 0)
		r = capture_let_run(c, err);
	if (r < 0)
		return r;
	c->evacuation.dropped = false;
	c->m.frozen_ms = (clock_now_ns() - c->frozen_at_ns) / NS_PER_MS;
	c->result->frozen_ms = c->m.frozen_ms;
	criu_session_close(&c->session);
	return 0;
}
