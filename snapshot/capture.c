/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order matters in two places. Everything slow that does not need the tree to stand still
 * (CRIU's start, kernel probes, space check, audit) comes before the freeze. What must fit
 * together (CRIU's images, copies of files, the list of pids and listeners) is taken while CRIU
 * holds the tree: at its post-dump notification all images are written and every task is still
 * stopped, and refusing there makes CRIU fail and let the tree run on.
 */
#include "snapshot/capture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/procfs.h"
#include "engine/release.h"
#include "snapshot/capture_gpu.h"
#include "snapshot/carried.h"
#include "snapshot/cgroup.h"
#include "snapshot/cold_boot.h"
#include "snapshot/criu/kdat.h"
#include "snapshot/criu/session.h"
#include "snapshot/evacuate.h"
#include "snapshot/fingerprint.h"
#include "snapshot/folder.h"
#include "snapshot/images.h"
#include "snapshot/room.h"
#include "snapshot/task/audit.h"
#include "snapshot/task/hold.h"
#include "snapshot/task/inherited.h"
#include "snapshot/task/residence.h"
#include "snapshot/task/sockets.h"
#include "snapshot/task/tree.h"
#include "snapshot/task/xcomp.h"

#define ENGINE_STEP_MS	  60000U /* warm-up and oracle, each */
#define RELEASE_MS	  30000U
#define HANG_UP_MS	  2000U
#define RECLAIM_MS	  60000U
#define QUIET_POLL_MS	  20U
#define RETRY_POLL_MS	  2U
#define RETRY_MS	  3000U /* PID 1 holds signals back meanwhile */
#define HOLD_MS		  5000U
#define GPU_START_MS	  60000U /* cuInit on a machine of eight GPUs: 2.7 s measured */
#define GPU_LOCK_MS	  10000U
#define LEASE_SLACK_MS	  60000U
#define SPACE_SLACK_BYTES (64ULL << 20)
#define CRIU_LOG_LEVEL	  2

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

static int take_host(struct capture *c, struct snap_error *err)
{
	int r = criu_program_find(c->config->criu, &c->program, err);
	struct criu_start none = {0};

	if (r == 0)
		r = criu_session_open(&c->program, &none, &c->session, err);
	if (r == 0)
		r = criu_session_ask_version(&c->session, err);
	if (r == 0)
		r = criu_session_version(&c->session, deadline_after_ms(5000), err);
	if (r == 0)
		r = fingerprint_take(c->session.version, c->program.build_id, &c->m.host, err);
	criu_session_close(&c->session);
	return r;
}

static int step_engine(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = engine_init(&c->engine, &c->config->engine, err);

	if (r < 0)
		return r;
	if (engine_readiness_is_unknown(&c->engine, &c->config->engine))
		return snap_fail_plain(
			err, SNAP_E_USAGE, EINVAL,
			"when '%s' is ready is not known; give --ready http://HOST:PORT/PATH, "
			"tcp:HOST:PORT, exec:COMMAND, fd or notify (none: as soon as it runs)",
			c->config->engine.argv[0]);
	return 0;
}

static int step_rights(void *context, struct snap_error *err)
{
	struct capture *c = context;
	const char *setting;
	int r = take_host(c, err);

	if (r < 0)
		return r;
	setting = c->m.host.setting;
	if (strcmp(setting, "C") == 0)
		return snap_fail_plain(
			err, SNAP_E_PREFLIGHT, EPERM,
			"setting C: a seccomp filter is on this container, CRIU cannot dump under "
			"one; capture with seccomp=unconfined or on the host with snapctl create");
	if (strcmp(setting, "none") == 0)
		return snap_fail_plain(
			err, SNAP_E_PREFLIGHT, EPERM,
			"no right to dump: CAP_CHECKPOINT_RESTORE and CAP_SETPCAP are needed (%s)",
			geteuid() == 0
				? "--cap-add CHECKPOINT_RESTORE"
				: "--cap-add CHECKPOINT_RESTORE, and for a user other than root "
				  "setcap cap_checkpoint_restore,cap_setpcap=ep on snapworker");
	c->m.unprivileged = strcmp(setting, "A") != 0;
	return 0;
}

static int step_ready(void *context, struct snap_error *err)
{
	struct capture *c = context;
	const struct capture_config *config = c->config;
	const struct cold_boot_wait wait = {
		.engine = &c->engine,
		.root_pid = config->root_pid,
		.deadline_ns = deadline_after_ms(config->ready_timeout_ms),
		.hear = config->talk.wait_engine,
		.arg = config->talk.arg,
	};
	int r = cold_boot_await(&wait, &c->m.cold_boot_ms, err);

	if (r < 0)
		return r;
	if (config->cold_boot_ms != CAPTURE_TIMES_COLD_BOOT)
		c->m.cold_boot_ms = config->cold_boot_ms;
	config->talk.ready(config->talk.arg, c->m.cold_boot_ms);
	return 0;
}

/* the driver starts while the engine is asked this and that */
static int step_gpu_start(void *context, struct snap_error *err)
{
	struct capture *c = context;

	return capture_gpu_start(&c->gpu, c->config->root_pid, &c->m.gpu, err);
}

static int step_warm_up(void *context, struct snap_error *err)
{
	struct capture *c = context;

	return engine_warm_up(&c->engine, deadline_after_ms(ENGINE_STEP_MS), err);
}

static int step_oracle(void *context, struct snap_error *err)
{
	struct capture *c = context;
	char request[sizeof(struct engine_request) + 64];
	size_t size;
	int r;

	if (!engine_has_oracle(&c->engine))
		return 0;
	r = engine_ask_oracle(&c->engine, deadline_after_ms(ENGINE_STEP_MS), &c->m.oracle_answer,
			      &size, err);
	if (r < 0)
		return r;
	r = engine_request_format(&c->engine.oracle, request, sizeof(request));
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the oracle's request");
	c->m.oracle_request = strdup(request);
	return c->m.oracle_request ? 0 : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}

static int step_store(void *context, struct snap_error *err)
{
	struct capture *c = context;
	uint64_t lease_ms =
		c->config->dump_timeout_ms + c->config->quiet_timeout_ms + LEASE_SLACK_MS;
	int r = store_open(&c->store, c->config->store_path, true, err);

	if (r == 0)
		r = store_begin(&c->store, c->config->generation, lease_ms, c->result->generation,
				err);
	if (r < 0)
		return r;
	c->begun = true;
	c->gen_fd = store_hold_generation(&c->store, c->result->generation, err);
	if (c->gen_fd < 0)
		return c->gen_fd;
	if (mkdirat(c->gen_fd, "criu", 0700) < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot make criu/");

	/* both only save time: at this dump, and at every wake */
	(void)kdat_make(&c->store, &c->program, &c->m.host, c->m.unprivileged,
			&c->result->cache_err);
	kdat_find(&c->store, &c->program, &c->m.host, c->m.unprivileged, &c->kdat);
	return 0;
}

static void undo_store(void *context)
{
	struct capture *c = context;

	c->gen_fd = fd_close(c->gen_fd);
	if (c->begun && !c->has_holes)
		store_abort(&c->store, c->result->generation);
	c->begun = false;
}

static int audit(const struct capture *c, const struct task_tree *tree, struct audit_report *report,
		 struct snap_error *err)
{
	struct audit_rights rights = {
		.admin = !c->m.unprivileged,
		.uid = geteuid(),
		.init_pid = getppid(),
		.self_pid = getpid(),
		.device_pids = c->gpu.checkpoint.checkpointed ? NULL : c->gpu.pids,
		.n_device_pids = c->gpu.checkpoint.checkpointed ? 0 : c->m.gpu.n_processes,
	};

	return audit_tree(tree, &rights, report, err);
}

static int audit_once(struct capture *c, struct audit_report *report, uint64_t *ret_resident,
		      struct snap_error *err)
{
	struct task_tree tree = {0};
	int r = task_tree_collect(c->config->root_pid, &tree, err);

	if (r == 0)
		r = audit(c, &tree, report, err);
	*ret_resident = tree.resident_bytes;
	task_tree_done(&tree);
	return r;
}

/* 0 with the last audit's findings: none, lasting ones, or the deadline has passed */
static int await_quiet(struct capture *c, uint64_t deadline_ns, unsigned int poll_ms,
		       struct audit_report *report, uint64_t *ret_resident, struct snap_error *err)
{
	for (;;) {
		int r = audit_once(c, report, ret_resident, err);

		if (r < 0)
			return r;
		if (report->n == 0 || !audit_only_transient(report) ||
		    deadline_left_ms(deadline_ns) == 0)
			return 0;
		if (steps_stopped())
			return snap_fail_plain(err, SNAP_E_STOPPED, ECANCELED, "asked to stop");
		(void)usleep(poll_ms * 1000);
	}
}

/* with NET_ADMIN an open connection is dumped, and closed at the wake */
static bool is_acceptable(const struct capture *c, const struct audit_report *report)
{
	return report->n == 0 || (audit_only_transient(report) && !c->m.unprivileged);
}

static int refuse(const struct capture *c, const struct audit_report *report,
		  struct snap_error *err)
{
	char text[900];
	int r;

	audit_format(report, text, sizeof(text));
	r = snap_fail_plain(err, SNAP_E_UNSNAPSHOTABLE, EBUSY, "%s", text);
	/* devices that are open may be so because their driver could not be asked */
	if (c->gpu.why.msg[0])
		snap_error_prefix(err, "%s", c->gpu.why.msg);
	return r;
}

/* the kernel kills whom it likes where it runs out in the middle: asked while all still run */
static int check_memory(struct capture *c, struct snap_error *err)
{
	struct room_load load = {
		.store_is_memory = store_is_memory(&c->store),
	};
	uint64_t device_bytes = capture_gpu_device_bytes(&c->gpu);
	snap_cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t limit, available, left;
	struct task_tree tree = {0};
	int r = root_fd < 0 ? snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot open '/'")
			    : task_tree_collect(c->config->root_pid, &tree, err);

	load.stored_bytes = residence_bytes(&tree);
	/* past the processes it is only stored */
	if (!c->config->gpu_storage)
		load.device_bytes = device_bytes;
	else if (__builtin_add_overflow(load.stored_bytes, device_bytes, &load.stored_bytes))
		load.stored_bytes = UINT64_MAX;
	task_tree_done(&tree);
	if (r == 0)
		r = cgroup_memory(root_fd, &limit, &available, err);
	if (r == 0)
		r = room_check(&load, limit, available, &left, err);
	if (r == 0)
		c->copies_max = load.store_is_memory ? left : UINT64_MAX;
	return r;
}

static int reserve_device(struct capture *c, struct snap_error *err)
{
	const struct capture_gpu_place place = {
		.gen_fd = c->gen_fd,
		.store_path = c->config->store_path,
		.generation = c->result->generation,
		.journal = &c->journal,
		.compress = c->config->compress,
	};

	return capture_gpu_reserve(&c->gpu, &place, err);
}

/* wait for open connections to end; name what CRIU would refuse */
static int step_quiet(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct audit_report report;
	uint64_t resident, stored;
	int r = capture_gpu_await(&c->gpu, c->config->root_pid, deadline_after_ms(GPU_START_MS),
				  err);

	if (r == 0)
		r = await_quiet(c, deadline_after_ms(c->config->quiet_timeout_ms), QUIET_POLL_MS,
				&report, &resident, err);
	if (r < 0)
		return r;
	if (!is_acceptable(c, &report))
		return refuse(c, &report, err);
	c->is_idle = report.n == 0;
	c->n_sockets = report.n_sockets;
	/* device memory will be stored too */
	if (__builtin_add_overflow(resident, capture_gpu_device_bytes(&c->gpu), &stored) ||
	    __builtin_add_overflow(stored, SPACE_SLACK_BYTES, &stored))
		stored = UINT64_MAX;
	r = store_check_space(&c->store, stored, err);
	if (r == 0)
		r = check_memory(c, err);
	return r < 0 ? r : reserve_device(c, err);
}

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
static int note_gpu_runs(const struct capture *c, struct snap_error *err)
{
	int r = recovery_note_gpu_runs(&c->journal, &c->m.gpu);

	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the GPU's threads") : 0;
}

static int let_run(struct capture *c, struct snap_error *err)
{
	int r = c->held ? xcomp_put_configs(&c->m, err) : 0;

	if (r == 0)
		r = note_gpu_runs(c, err);
	if (r == 0)
		r = gpu_checkpoint_unlock(&c->gpu.checkpoint, err);
	if (r < 0)
		return r;
	r = recovery_forget(&c->journal);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot clear the journal");
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
			r = audit(c, &c->tree, &report, err);
		if (r < 0)
			return r;
		if (is_acceptable(c, &report)) {
			r = xcomp_collect(&c->tree, recovery_note_thread, &c->journal, &c->m, err);
			if (r != -EBUSY || deadline_left_ms(deadline) == 0)
				return r;
		} else if (!audit_only_transient(&report) || deadline_left_ms(deadline) == 0) {
			return refuse(c, &report, err);
		}
		r = let_run(c, err);
		(void)usleep(RETRY_POLL_MS * 1000);
		if (r == 0)
			r = await_quiet(c, deadline, RETRY_POLL_MS, &report, &resident, err);
		if (r < 0)
			return r;
	}
}

static void thaw(struct capture *c, bool ended)
{
	if (c->announced)
		c->config->talk.thawed(c->config->talk.arg, ended);
	c->announced = false;
}

/* an engine that stays without its memory answers nobody: PID 1 looks at it */
static int reclaim(struct capture *c, struct snap_error *err)
{
	int r = c->released ? engine_reclaim(&c->engine, deadline_after_ms(RECLAIM_MS), err) : 0;

	c->released = false;
	if (r < 0)
		c->result->may_be_harmed = true;
	return r;
}

static int note_reclaim(struct capture *c, struct snap_error *err)
{
	char request[sizeof(struct engine_request) + 64];
	int r = engine_request_format(&c->engine.reclaim, request, sizeof(request));

	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the request for reclaim");
	if (c->engine.reclaim.method[0] == '\0')
		return 0;
	c->m.reclaim_request = strdup(request);
	return c->m.reclaim_request ? 0 : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}

/*
 * A connection that both ends have shut down is in no table, yet the engine has it until it closes
 * the descriptor, and CRIU refuses it without NET_ADMIN. Nothing is wrong where that takes long.
 */
static void await_hang_up(struct capture *c)
{
	uint64_t deadline = deadline_after_ms(HANG_UP_MS), resident;
	struct audit_report report;

	while (audit_once(c, &report, &resident, NULL) == 0 &&
	       (report.n > 0 || report.n_sockets > c->n_sockets) && deadline_left_ms(deadline) > 0)
		(void)usleep(RETRY_POLL_MS * 1000);
}

/*
 * Not before the capture is known to be allowed, and not before PID 1 is told: it looks at the
 * engine if we die from here on. What fails here makes a larger snapshot, no worse one.
 */
static int step_release(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct snap_error *why = &c->result->release_err;
	int r = c->config->talk.freeze(c->config->talk.arg, c->gpu.used, err);

	if (r < 0)
		return r;
	c->announced = true;
	if (!engine_can_release(&c->engine)) {
		if (engine_release_hint(&c->engine))
			(void)snap_fail_plain(why, SNAP_E_NOT_READY, 0, "%s",
					      engine_release_hint(&c->engine));
		return 0;
	}
	if (!c->is_idle) {
		(void)snap_fail_plain(why, SNAP_E_NOT_READY, EBUSY,
				      "the engine has open connections");
		return 0;
	}
	r = engine_release(&c->engine, deadline_after_ms(RELEASE_MS), why);
	await_hang_up(c);
	if (r == ENGINE_NOT_RELEASED)
		return 0;
	c->released = true;
	/* late or cut short: it may still do it, so it must take all again */
	if (r < 0) {
		r = reclaim(c, err);
		await_hang_up(c);
		return r;
	}
	c->result->released = true;
	return note_reclaim(c, err);
}

static void undo_release(void *context)
{
	struct capture *c = context;

	if (!c->result->may_be_harmed)
		(void)reclaim(c, NULL);
	if (!c->result->may_be_harmed)
		thaw(c, false);
	c->announced = false;
}

/* signals go on only now: an engine that is to end wants its memory, too */
static int step_reclaim(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = c->config->end_engine ? 0 : reclaim(c, err);

	if (r == 0)
		thaw(c, c->config->end_engine);
	return r;
}

static int step_freeze(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct criu_start start = {.outlives_us = true};
	int r = criu_session_open(&c->program, &start, &c->session, err);

	if (r < 0)
		return r;
	criu_session_use_cache(&c->session, c->kdat.dir_fd);
	return hold_quiet(c, err);
}

static void undo_freeze(void *context)
{
	struct capture *c = context;

	/*
	 * An orderly end lets the tree go. What a killed CRIU leaves, and memory that did not come
	 * back, are for the journal: the tree stays as it is.
	 */
	criu_session_close(&c->session);
	if (c->gpu.checkpoint.unsure) {
		c->result->may_be_harmed = true;
		c->has_holes |= c->gpu.files.is_saved;
	}
	if (!c->result->may_be_harmed && let_run(c, NULL) < 0)
		c->result->may_be_harmed = true;
}

/*
 * Device memory into the processes, devices closed. What a checkpoint leaves open belongs to nobody
 * who was checkpointed: the audit names it.
 */
static int step_gpu(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct audit_report report;
	int r;

	if (!c->gpu.checkpoint.locked)
		return 0;
	c->gpu.checkpoint.take_deadline_ns = deadline_after_ms(c->config->dump_timeout_ms);
	r = note_gpu_runs(c, err);
	if (r == 0)
		r = capture_gpu_take(&c->gpu, err);
	if (r < 0)
		return r;
	task_tree_done(&c->tree);
	r = task_tree_collect(c->config->root_pid, &c->tree, err);
	if (r == 0)
		r = audit(c, &c->tree, &report, err);
	if (r == 0 && !is_acceptable(c, &report))
		r = refuse(c, &report, err);
	return r;
}

static int restore_gpu(struct capture *c, struct snap_error *err)
{
	int r = note_gpu_runs(c, err);

	return r == 0 ? gpu_checkpoint_restore(&c->gpu.checkpoint, NULL, 0, err) : r;
}

static void undo_gpu(void *context)
{
	struct capture *c = context;

	/* one whose memory has holes has no device memory to give back: recovery fills it first */
	if (!c->result->may_be_harmed && restore_gpu(c, NULL) < 0)
		c->result->may_be_harmed = true;
}

static int step_evacuate(void *context, struct snap_error *err)
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
static void undo_evacuate(void *context)
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

static int step_dump(void *context, struct snap_error *err)
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
static int step_resume(void *context, struct snap_error *err)
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
		r = let_run(c, err);
	if (r < 0)
		return r;
	c->evacuation.dropped = false;
	c->m.frozen_ms = (clock_now_ns() - c->frozen_at_ns) / NS_PER_MS;
	c->result->frozen_ms = c->m.frozen_ms;
	criu_session_close(&c->session);
	return 0;
}

static int dup_string(char **ret, const char *text)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int fill_texts(struct capture *c)
{
	time_t now = time(NULL);
	char created[32];
	struct tm tm;
	int r;

	(void)gmtime_r(&now, &tm);
	(void)strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &tm);
	r = dup_string(&c->m.created, created);
	if (r == 0)
		r = dup_string(&c->m.snapinit_version, SNAP_VERSION);
	if (r == 0)
		r = dup_string(&c->m.generation, c->result->generation);
	if (r == 0)
		r = dup_string(&c->m.ready, c->config->engine.ready);
	for (int i = 0; r == 0 && i < 3; i++)
		r = dup_string(&c->m.stdio[i], c->config->stdio[i]);
	return r;
}

static int step_seal(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = fill_texts(c);

	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot fill the manifest");
	c->m.schema = MANIFEST_SCHEMA;
	c->m.pages_bytes = c->evacuation.written.stored_bytes;
	r = identity_take(c->config->engine.argv, environ, engine_adapter_name(&c->engine), NULL,
			  &c->m.identity, err);
	if (r == 0)
		r = images_collect(c->gen_fd, &c->m, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->m.n_images; i++)
		c->m.snapshot_bytes += c->m.images[i].size;
	c->m.snapshot_bytes += c->evacuation.written.written_bytes;
	c->m.snapshot_bytes += c->gpu.files.written.written_bytes;
	c->result->snapshot_bytes = c->m.snapshot_bytes;
	/* waiting for the engine to boot is not our work */
	for (size_t i = 0; i < c->result->times.n; i++) {
		if (strcmp(c->result->times.names[i], "ready") != 0)
			c->m.capture_ms += c->result->times.dur_ns[i] / NS_PER_MS;
	}
	return manifest_save(c->gen_fd, &c->m, err);
}

static int step_verify(void *context, struct snap_error *err)
{
	struct capture *c = context;
	const struct capture_talk *talk = &c->config->talk;
	int r;

	if (c->m.gpu.mode) {
		(void)snap_fail_plain(&c->result->verify_err, SNAP_E_GPU, ENOMEM,
				      "a second engine beside this one may not fit its GPU");
		return 0;
	}
	r = talk->verify ? talk->verify(talk->arg, &c->m, &c->result->verify_err) : 1;

	c->result->verified = r == 0;
	if (r < 0 && err)
		*err = c->result->verify_err;
	return r < 0 ? r : 0;
}

static int step_publish(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = c->config->generation ? store_finish(&c->store, c->result->generation, err)
				      : store_publish(&c->store, c->result->generation, err);

	if (r == 0)
		c->begun = false;
	return r;
}

static const struct step capture_steps[] = {
	{"engine", step_engine, NULL},
	{"rights", step_rights, NULL},
	{"ready", step_ready, NULL},
	{"gpu-start", step_gpu_start, NULL},
	{"warm-up", step_warm_up, NULL},
	{"oracle", step_oracle, NULL},
	{"store", step_store, undo_store},
	{"quiet", step_quiet, NULL},
	{"release", step_release, undo_release},
	{"freeze", step_freeze, undo_freeze},
	{"gpu", step_gpu, undo_gpu},
	{"evacuate", step_evacuate, undo_evacuate},
	{"dump", step_dump, NULL},
	{"resume", step_resume, NULL},
	{"reclaim", step_reclaim, NULL},
	{"seal", step_seal, NULL},
	{"verify", step_verify, NULL},
	{"publish", step_publish, NULL},
};

int capture_run(const struct capture_config *config, struct capture_result *ret,
		struct snap_error *err)
{
	struct capture c = {
		.config = config,
		.result = ret,
		.session = CRIU_SESSION_NONE,
		.store = {.fd = FD_NONE},
		.gen_fd = FD_NONE,
		.kdat = {.dir_fd = FD_NONE},
		.journal = {.fd = config->journal_fd},
		.gpu = {.by_storage = config->gpu_storage},
	};
	int r;

	*ret = (struct capture_result){0};
	manifest_init(&c.m);
	r = steps_run("capture", capture_steps, ARRAY_LEN(capture_steps), &c, &ret->times, err);
	criu_session_close(&c.session);
	evacuation_done(&c.evacuation);
	capture_gpu_done(&c.gpu);
	task_tree_done(&c.tree);
	task_hold_done(&c.hold);
	kdat_done(&c.kdat);
	c.gen_fd = fd_close(c.gen_fd);
	store_close(&c.store);
	manifest_done(&c.m);
	return r;
}
