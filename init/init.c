/* SPDX-License-Identifier: Apache-2.0 */
#include "init/init.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/parse.h"
#include "common/pidref.h"
#include "common/procfs.h"
#include "init/answers.h"
#include "init/child.h"
#include "init/control.h"
#include "init/descendants.h"
#include "init/environment.h"
#include "init/journal.h"
#include "init/notify.h"
#include "init/reaper.h"
#include "init/signals.h"
#include "init/stdio.h"
#include "init/supervisor.h"
#include "init/terminal.h"
#include "init/worker.h"

#define STATUS_OWN_FAILURE 125

/*
 * Order within one turn: what the engine and the worker said comes before the news of their
 * death, which comes before new signals for them.
 */
#define PRIORITY_NOTIFY	 (-30)
#define PRIORITY_WORKER	 (-25)
#define PRIORITY_SIGNALS (-10)
#define PRIORITY_CONTROL 0

#define SNAPSHOT_NOFILE_MIN 32U	 /* descriptors: PID 1 itself has up to 25 */
#define MESSAGES_MAX	    16	 /* of the worker, per turn */
#define WORKER_RETIRE_MS    5000 /* from its last word to KILL */
#define WORKER_DISMISS_MS   1000 /* to take back what it has half made */
#define WORKER_HANG_UP_MS   1000 /* from the end of its socket to KILL */
#define SWEEP_PATIENCE_MS   2000 /* for a CRIU that takes itself out of the tree, to KILL */
#define SWEEP_AGAIN_MS	    50	 /* a sweep is repeated at every death; this is for a lost one */
#define DRAIN_STALL_MS	    2000

struct init {
	const struct init_options *options;
	rlim_t snapshot_off; /* so few descriptors: no snapshots. 0: enough */
	struct loop loop;
	struct signals signals;
	struct loop_source signals_source;
	struct notify notify;
	struct loop_source notify_source;
	struct answers answers;
	struct control control;
	struct stdio stdio;
	struct worker worker;
	struct supervisor supervisor;
	struct pidref engine;
	struct environment environment; /* the engine's */
	int closed_stdio;
	int journal_fd;	 /* of a wake that is not through */
	int recovery_fd; /* of a capture: what is done to the stopped tree; FD_NONE: none runs */
	int kept[WORKER_KEPT_MAX_];	/* where the memory of the stopped tree lies; FD_NONE */
	int received[WORKER_KEPT_MAX_]; /* beside the message that is being told; FD_NONE */
	int log_fd;

	enum supervisor_sweep sweep;
	bool sweep_asked;
	struct descendants_spare spare;
	uint64_t sweep_kill_at; /* until then it is only waited for their end */
	uint64_t drain_moved;	/* stdio_moved() when the drain last made progress */
	bool draining;
};

/* --- what the supervisor asks for ------------------------------------------------------------- */

static int on_worker(struct loop_source *source, uint32_t events);

static int start_worker(struct init *init, enum worker_job job, const int *ends,
			struct snap_error *err)
{
	struct worker *worker = &init->worker;
	/* what is about to be killed is everything below us, also where the engine has ended */
	pid_t root = job == WORKER_SUSPEND ? getpid() : init->engine.pid;
	int r = worker_start(worker, job, root, ends, err);

	if (r < 0)
		return r;
	r = loop_add(&init->loop, &worker->source, worker->fd, EPOLLIN, PRIORITY_WORKER, on_worker,
		     init);
	if (r == 0)
		return 0;
	worker_kill(worker);
	return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot listen to the worker");
}

static int op_start_wake(void *world, struct snap_error *err)
{
	struct init *init = world;
	int r = stdio_open_ends(&init->stdio, err);

	if (r < 0)
		return r;
	/* without one a killed worker's files stay: worse, but no reason not to wake */
	init->journal_fd = journal_open();
	init->worker.journal_fd = init->journal_fd;
	r = start_worker(init, WORKER_WAKE, init->stdio.ends, err);
	init->worker.journal_fd = FD_NONE;
	return r;
}

static int op_start_capture(void *world, uint64_t cold_boot_ms, struct snap_error *err)
{
	struct init *init = world;
	int r;

	init->worker.cold_boot_ms = cold_boot_ms;

	init->recovery_fd = journal_open();
	if (init->recovery_fd < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -init->recovery_fd, "cannot make a journal");
	init->worker.journal_fd = init->recovery_fd;
	r = start_worker(init, WORKER_CAPTURE, init->stdio.names, err);
	init->worker.journal_fd = FD_NONE;
	return r;
}

static bool op_needs_recovery(void *world)
{
	const struct init *init = world;
	struct stat st;

	return init->recovery_fd >= 0 && (fstat(init->recovery_fd, &st) < 0 || st.st_size > 0);
}

static int op_start_recover(void *world, struct snap_error *err)
{
	struct init *init = world;
	int r;

	init->worker.journal_fd = init->recovery_fd;
	init->worker.kept = init->kept;
	r = start_worker(init, WORKER_RECOVER, NULL, err);
	init->worker.journal_fd = FD_NONE;
	init->worker.kept = NULL;
	return r;
}

static void close_kept(int kept[WORKER_KEPT_MAX_])
{
	for (int i = 0; i < WORKER_KEPT_MAX_; i++)
		kept[i] = fd_close(kept[i]);
}

static void op_keep(void *world)
{
	struct init *init = world;

	close_kept(init->kept);
	for (int i = 0; i < WORKER_KEPT_MAX_; i++)
		init->kept[i] = TAKE_FD(init->received[i]);
}

static void op_release(void *world)
{
	close_kept(((struct init *)world)->kept);
}

/* emptied too, for a worker that has it still */
static void op_forget_recovery(void *world)
{
	struct init *init = world;

	if (init->recovery_fd >= 0 && ftruncate(init->recovery_fd, 0) < 0)
		log_warn("journal.failed", "cannot empty a journal: %s", strerror(errno));
	init->recovery_fd = fd_close(init->recovery_fd);
	close_kept(init->kept);
}

static int op_start_watch(void *world, struct snap_error *err)
{
	return start_worker(world, WORKER_WATCH, NULL, err);
}

static int op_start_probe(void *world, struct snap_error *err)
{
	return start_worker(world, WORKER_PROBE, NULL, err);
}

static int op_start_suspend(void *world, uint64_t timeout_ms, struct snap_error *err)
{
	struct init *init = world;

	init->worker.suspend_ms = timeout_ms;
	return start_worker(init, WORKER_SUSPEND, NULL, err);
}

static bool op_is_awaited(void *world)
{
	const struct init *init = world;

	return notify_has_upstream(&init->notify);
}

static void op_ready(void *world)
{
	struct init *init = world;

	/* what the engine says itself has been passed on */
	if (init->notify.kind != READY_NOTIFY)
		notify_tell_ready(&init->notify);
}

/* plain mode: descriptors and a folder that the command has are not for us to hold on to */
static void let_go(const struct init *init)
{
	int ours[4 + CONTROL_CLIENTS_MAX + 1] = {init->log_fd, init->signals.fd,
						 init->loop.epoll_fd, init->engine.fd};
	unsigned int n = 4 + control_fds(&init->control, ours + 4);

	(void)fd_close_from_except(3, ours, n);
	if (chdir("/") < 0)
		log_debug("folder.kept", "cannot go to /: %s", strerror(errno));
}

static int op_boot(void *world, bool to_be_captured, struct snap_error *err)
{
	struct init *init = world;
	struct process_fd fds[STDIO_N + 1];
	unsigned int n_fds = 0;
	int r = stdio_open_ends(&init->stdio, err);

	journal_undo(init->journal_fd);
	init->journal_fd = fd_close(init->journal_fd);
	op_forget_recovery(init);

	if (r < 0)
		return r;
	for (; init->stdio.on && n_fds < STDIO_N; n_fds++)
		fds[n_fds] = (struct process_fd){.from = init->stdio.ends[n_fds], .to = (int)n_fds};
	if (init->notify.engine_end >= 0)
		fds[n_fds++] = (struct process_fd){.from = init->notify.engine_end,
						   .to = (int)init->options->notify_fd};

	const struct child_plan plan = {
		.argv = init->options->argv,
		.envp = init->environment.envp,
		.environment = &init->environment,
		.signals = &init->signals,
		.closed_stdio = init->closed_stdio,
		.own_session = init->options->own_session,
		.contained = init->stdio.on,
		.pid_base = to_be_captured && getpid() == 1 ? (pid_t)init->options->pid_base : 0,
		.fds = fds,
		.n_fds = n_fds,
	};
	pidref_done(&init->engine); /* one that KILL did not end in time */
	r = child_boot(&plan, &init->engine, err);
	if (r != 0)
		return r;
	if (init->engine.pid < plan.pid_base)
		log_warn("pid.low",
			 "the engine got pid %d, below %d: its pids may be taken at a wake",
			 (int)init->engine.pid, (int)plan.pid_base);
	stdio_close_ends(&init->stdio);
	notify_close_engine_end(&init->notify);
	if (!init->options->snapshot)
		let_go(init);
	return 0;
}

static int op_adopt(void *world, pid_t pid, struct snap_error *err)
{
	struct init *init = world;
	siginfo_t info;
	int r;

	/* only a child can be asked for, so this also says whose it is */
	if (pid <= 0 || pid == init->worker.ref.pid ||
	    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0)
		return snap_fail_plain(err, SNAP_E_RESTORE, ECHILD,
				       "the worker restored process %d, which is no child of ours",
				       (int)pid);
	r = pidref_open(&init->engine, pid);
	if (r < 0)
		return snap_fail(err, SNAP_E_RESTORE, -r, "cannot hold process %d", (int)pid);
	return 0;
}

static void op_woken(void *world, bool answers)
{
	struct init *init = world;

	init->journal_fd = fd_close(init->journal_fd);
	stdio_close_ends(&init->stdio);
	notify_close_engine_end(&init->notify);
	if (answers)
		notify_tell_ready(&init->notify);
}

static pid_t op_engine(void *world)
{
	return ((struct init *)world)->engine.pid;
}

static void op_signal_engine(void *world, int sig)
{
	struct init *init = world;
	pid_t pid = init->engine.pid;

	if (pid <= 0)
		return;
	/* unreaped, so the number is still its own */
	if (init->options->kill_group && getpgid(pid) == pid && kill(-pid, sig) == 0)
		return;
	(void)pidref_kill(&init->engine, sig);
}

/* the root stands for the tree: who debugs it has it as a whole */
static bool op_is_traced(void *world, pid_t *ret_tracer)
{
	const struct init *init = world;
	struct proc_stat stat;
	char text[16] = "";
	int tracer = 0;

	if (procfs_status_field(init->engine.pid, "TracerPid", text, sizeof(text)) < 0 ||
	    parse_int(text, 0, INT_MAX, &tracer) < 0 || procfs_stat(init->engine.pid, &stat) < 0)
		return false;
	*ret_tracer = (pid_t)tracer;
	/* one from another pid namespace has no number here, but it holds what it stops */
	return tracer > 0 || stat.state == 't';
}

static void op_resume_tree(void *world)
{
	struct init *init = world;

	if (pidref_is_set(&init->engine))
		(void)descendants_signal_tree(init->engine.pid, SIGCONT);
}

static int op_answer(void *world, enum worker_msg_type type, uint32_t id)
{
	return worker_send(&((struct init *)world)->worker, type, id);
}

static void op_kill_worker(void *world)
{
	worker_kill(&((struct init *)world)->worker);
}

static void op_stop_worker(void *world)
{
	(void)pidref_kill(&((struct init *)world)->worker.ref, SIGTERM);
}

static void op_dismiss_worker(void *world)
{
	worker_dismiss(&((struct init *)world)->worker, WORKER_DISMISS_MS);
}

static void op_retire_worker(void *world)
{
	worker_retire(&((struct init *)world)->worker, WORKER_RETIRE_MS);
}

static void op_sweep(void *world, enum supervisor_sweep what)
{
	struct init *init = world;

	init->sweep = what;
	init->sweep_asked = false;
	init->spare = (struct descendants_spare){.root = 0};
	init->sweep_kill_at = 0;
	if (what != SWEEP_INTRUDERS)
		return;
	init->sweep_kill_at = deadline_after_ms(SWEEP_PATIENCE_MS);
	init->spare =
		(struct descendants_spare){.root = init->engine.pid, .since = init->worker.since};
}

static void op_drain(void *world)
{
	struct init *init = world;

	stdio_mark_end(&init->stdio);
	init->drain_moved = stdio_moved(&init->stdio);
	init->draining = true;
}

static const struct supervisor_ops ops = {
	.start_wake = op_start_wake,
	.start_capture = op_start_capture,
	.start_watch = op_start_watch,
	.start_probe = op_start_probe,
	.start_suspend = op_start_suspend,
	.needs_recovery = op_needs_recovery,
	.start_recover = op_start_recover,
	.forget_recovery = op_forget_recovery,
	.keep = op_keep,
	.release = op_release,
	.boot = op_boot,
	.adopt = op_adopt,
	.woken = op_woken,
	.is_awaited = op_is_awaited,
	.ready = op_ready,
	.engine = op_engine,
	.signal_engine = op_signal_engine,
	.is_traced = op_is_traced,
	.resume_tree = op_resume_tree,
	.answer = op_answer,
	.kill_worker = op_kill_worker,
	.stop_worker = op_stop_worker,
	.dismiss_worker = op_dismiss_worker,
	.retire_worker = op_retire_worker,
	.sweep = op_sweep,
	.drain = op_drain,
};

/* --- what happens ----------------------------------------------------------------------------- */

static void tell(struct init *init, const struct event *event)
{
	supervisor_handle(&init->supervisor, event);
}

/* all that the active worker has said so far */
static void hear_worker(struct init *init)
{
	struct worker *worker = &init->worker;

	for (int i = 0; i < MESSAGES_MAX && worker_is_active(worker); i++) {
		struct worker_msg msg;
		int r = worker_recv(worker, &msg, init->received);

		if (r == -EAGAIN)
			return;
		if (r == 0) {
			tell(init,
			     &(struct event){.type = supervisor_event_of(msg.type), .msg = &msg});
			close_kept(init->received); /* nobody took them */
		} else if (r == 1) {
			/* it is about to exit, or should be: its death tells more than this */
			worker_hang_up(worker);
			worker->kill_at = deadline_after_ms(WORKER_HANG_UP_MS);
			return;
		} else {
			tell(init, &(struct event){.type = EVENT_BREACH});
			return;
		}
	}
}

static int on_worker(struct loop_source *source, uint32_t events)
{
	(void)events;
	hear_worker(source->owner);
	return 0;
}

/* mending gives it time, then kills it */
static bool worker_leaves_criu_in_tree(const struct init *init)
{
	enum supervisor_state state = init->supervisor.state;

	return init->options->capture != CAPTURE_EXIT &&
	       (state == STATE_FROZEN || state == STATE_MENDING);
}

/* as dumb-init: who is left in the group of the engine that just died gets a TERM */
static void say_farewell(struct init *init)
{
	int sig = signal_map_get(&init->options->rewrite, SIGTERM);
	enum supervisor_state state = init->supervisor.state;

	/* a tree that is being captured gets no signal of ours */
	if (init->options->own_session && sig > 0 &&
	    (state == STATE_SERVING || state == STATE_STOPPING))
		op_signal_engine(init, sig);
}

static void on_death(pid_t pid, int status, void *arg)
{
	struct init *init = arg;
	struct worker *worker = &init->worker;

	/* a last word that is still in the socket comes before the death it announces */
	if (pid == init->engine.pid || pid == worker->ref.pid)
		hear_worker(init);
	if (pid == init->engine.pid) {
		say_farewell(init);
		pidref_done(&init->engine);
		tell(init, &(struct event){.type = EVENT_ENGINE_EXIT, .status = status});
	} else if (pid == worker->ref.pid) {
		bool active = worker_is_active(worker);

		worker_forget(worker);
		if (!worker_leaves_criu_in_tree(init))
			descendants_kill_session(pid);
		if (active)
			tell(init, &(struct event){.type = EVENT_WORKER_EXIT, .status = status});
	} else {
		log_write(init->options->warn_on_reap ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG,
			  "orphan.reaped", NULL, 0, "reaped process %d", (int)pid);
	}
}

/* as dumb-init: whoever runs us as a job sees the job stop; the kernel does not stop a PID 1 */
static void stop_with_child(const struct init *init, int sig)
{
	if (init->options->job_control && (sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU))
		(void)kill(getpid(), SIGSTOP);
}

static int on_signal(struct loop_source *source, uint32_t events)
{
	struct init *init = source->owner;
	int sig;

	(void)events;
	while ((sig = signals_next(&init->signals)) > 0) {
		if (sig == SIGCHLD) {
			int r = reaper_run(on_death, init);

			if (r < 0)
				return r;
			continue;
		}
		tell(init,
		     &(struct event){.type = supervisor_event_of_signal(&init->supervisor, sig),
				     .sig = sig});
		stop_with_child(init, sig);
	}
	return sig;
}

static int on_notify(struct loop_source *source, uint32_t events)
{
	struct init *init = source->owner;
	int r = notify_read(&init->notify);

	(void)events;
	if (r == NOTIFY_READY)
		tell(init, &(struct event){.type = EVENT_SAYS_READY});
	else if (r != 0)
		loop_remove(source);
	return 0;
}

/* --- end of a turn ---------------------------------------------------------------------------- */

static void continue_sweep(struct init *init)
{
	int left;

	if (init->sweep == SWEEP_NOTHING)
		return;
	if (init->sweep == SWEEP_ASK) {
		if (!init->sweep_asked)
			(void)descendants_ask();
		init->sweep_asked = true;
		left = descendants_count(&init->spare);
		left = left < 0 ? 0 : left; /* without /proc nobody is known, so none waited for */
	} else if (deadline_left_ms(init->sweep_kill_at) > 0) {
		left = descendants_count(&init->spare);
	} else {
		left = descendants_kill(&init->spare);
	}
	if (left == 0)
		tell(init, &(struct event){.type = EVENT_CLEAN});
}

static void continue_drain(struct init *init)
{
	uint64_t moved = stdio_moved(&init->stdio);

	if (!init->draining)
		return;
	if (stdio_is_drained(&init->stdio) && pidref_is_set(&init->worker.ref))
		return; /* dismissed: its end or kill_at comes soon */
	if (stdio_is_drained(&init->stdio)) {
		tell(init, &(struct event){.type = EVENT_DRAINED});
	} else if (moved != init->drain_moved) {
		init->drain_moved = moved;
		init->supervisor.deadline_ns = deadline_after_ms(DRAIN_STALL_MS);
	}
}

static void check_deadlines(struct init *init)
{
	struct worker *worker = &init->worker;

	if (pidref_is_set(&worker->ref) && deadline_left_ms(worker->kill_at) == 0) {
		worker->kill_at = DEADLINE_NEVER;
		(void)pidref_kill(&worker->ref, SIGKILL);
	}
	if (deadline_left_ms(init->supervisor.deadline_ns) == 0) {
		/* an action that wants another one sets it */
		init->supervisor.deadline_ns = DEADLINE_NEVER;
		tell(init, &(struct event){.type = EVENT_DEADLINE});
	}
}

static int next_timeout(const struct init *init)
{
	uint64_t next = init->supervisor.deadline_ns;

	if (pidref_is_set(&init->worker.ref) && init->worker.kill_at < next)
		next = init->worker.kill_at;
	if (init->sweep != SWEEP_NOTHING) {
		uint64_t again = deadline_after_ms(SWEEP_AGAIN_MS);

		next = again < next ? again : next;
	}
	return deadline_left_ms(next);
}

static int run(struct init *init)
{
	supervisor_start(&init->supervisor);
	for (;;) {
		int r;

		continue_sweep(init);
		continue_drain(init);
		if (init->supervisor.state == STATE_GONE)
			return supervisor_exit_status(&init->supervisor);
		r = loop_run_once(&init->loop, next_timeout(init));
		if (r < 0) {
			/* nothing is known that does this; without a loop PID 1 is of no use */
			log_error("loop.failed", "event loop: %s", strerror(-r));
			return STATUS_OWN_FAILURE;
		}
		check_deadlines(init);
	}
}

/* --- begin and end ---------------------------------------------------------------------------- */

static void warn_of_pids(const struct init_options *options)
{
	if (options->snapshot && options->pid_base_is_chosen && getpid() != 1)
		log_warn(
			"pid.ignored",
			"--pid-base has no effect: we are not PID 1, so pids are not ours to choose");
}

/*
 * Inherited sockets (LISTEN_FDS) are the command's. A captured engine cannot have them: CRIU makes
 * listeners anew by their address, and has no way to take another one instead.
 */
static int set_up_environment(struct init *init, struct snap_error *err)
{
	const struct init_options *options = init->options;
	struct environment *environment = &init->environment;

	if (options->snapshot && options->ready_kind == READY_NOTIFY)
		environment_change(environment, "NOTIFY_SOCKET", init->notify.variable);
	if (options->snapshot && getenv("LISTEN_FDS")) {
		log_warn("listen.dropped", "LISTEN_FDS: inherited sockets cannot be the engine's "
					   "with --snapshot; they were closed");
		environment_change(environment, "LISTEN_FDS", NULL);
		environment_change(environment, "LISTEN_PID", NULL);
		environment_change(environment, "LISTEN_FDNAMES", NULL);
	} else if (environment_is_listening()) {
		environment_change_listen_pid(environment);
	}
	if (environment_make(environment) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory");
	return 0;
}

static int set_up_snapshot_mode(struct init *init, struct snap_error *err)
{
	const struct init_options *options = init->options;
	int r;

	r = stdio_init(&init->stdio, &init->loop, err);
	if (r < 0)
		return r;
	r = notify_init(&init->notify, options->ready_kind, getenv("NOTIFY_SOCKET"), err);
	if (r < 0)
		return r;
	if (init->notify.fd >= 0) {
		r = loop_add(&init->loop, &init->notify_source, init->notify.fd, EPOLLIN,
			     PRIORITY_NOTIFY, on_notify, init);
		if (r < 0)
			return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot watch for readiness");
	}
	return worker_init(&init->worker, options, err);
}

/* nobody shall miss the engine because of a socket */
static void set_up_control(struct init *init)
{
	const char *chosen = init->options->control;
	const char *path = chosen ? chosen : INIT_OPTIONS_CONTROL;
	bool is_none = chosen && strcmp(chosen, "none") == 0;
	/* without a socket nobody can ask for the capture that waits to be asked for */
	bool needed = init->options->capture == CAPTURE_ON_REQUEST;
	struct snap_error err = {.code = SNAP_OK};

	init->answers = (struct answers){&init->supervisor, &init->worker};
	if (is_none)
		(void)snap_fail_plain(&err, SNAP_E_USAGE, 0,
				      "no control socket: --control is none%s",
				      needed ? ", so no capture can be asked for" : "");
	else if (!chosen && getpid() != 1)
		(void)snap_fail_plain(&err, SNAP_E_USAGE, 0,
				      "no control socket, because this is not PID 1: give "
				      "--control PATH%s",
				      needed ? ", else no capture can be asked for" : "");
	else if ((!chosen && !init->options->snapshot) ||
		 control_init(&init->control, &init->loop, path, PRIORITY_CONTROL, answers_put,
			      &init->answers, &err) == 0)
		return;
	log_write(needed || (chosen && !is_none) ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "control.off",
		  NULL, 0, "%s", err.msg);
}

static int set_up(struct init *init, struct snap_error *err)
{
	const struct init_options *options = init->options;
	int r;

	if (options->snapshot) /* nobody gets them, so nobody shall wait for their end */
		(void)fd_close_from_except(3, NULL, 0);
	init->log_fd = stdio_open_log();
	log_init("snapinit", init->log_fd, options->log_format, options->log_level);
	log_write(
		LOG_LEVEL_INFO, "init.start",
		(struct log_field[]){LOG_UINT("pid", getpid()), LOG_TEXT("version", SNAP_VERSION)},
		2, "snapinit starts '%s'", options->pause ? "nothing" : options->argv[0]);
	warn_of_pids(options);

	if (init->snapshot_off)
		log_warn(
			"snapshot.off",
			"RLIMIT_NOFILE is %llu: no wake and no capture with less than %u descriptors "
			"(remedy: --ulimit nofile)",
			(unsigned long long)init->snapshot_off, SNAPSHOT_NOFILE_MIN);
	r = signals_init(&init->signals, options->job_control);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot take over the signals");
	if (options->own_session && !options->snapshot)
		terminal_give_up();
	if (options->parent_death_signal &&
	    prctl(PR_SET_PDEATHSIG, (long)options->parent_death_signal) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot set --parent-death-signal");
	if ((getpid() != 1 || options->subreaper) && prctl(PR_SET_CHILD_SUBREAPER, 1L) < 0)
		log_warn("subreaper.failed", "cannot adopt orphans: %s", strerror(errno));
	r = loop_init(&init->loop);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot make an event loop");
	r = loop_add(&init->loop, &init->signals_source, init->signals.fd, EPOLLIN,
		     PRIORITY_SIGNALS, on_signal, init);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot watch for signals");
	set_up_control(init);
	r = options->snapshot ? set_up_snapshot_mode(init, err) : 0;
	if (options->pause)
		let_go(init);
	return r < 0 ? r : set_up_environment(init, err);
}

static void tear_down(struct init *init)
{
	journal_undo(init->journal_fd);
	init->journal_fd = fd_close(init->journal_fd);
	init->recovery_fd = fd_close(init->recovery_fd);
	close_kept(init->kept);
	control_done(&init->control);
	loop_remove(&init->notify_source);
	loop_remove(&init->signals_source);
	worker_done(&init->worker);
	notify_done(&init->notify);
	stdio_done(&init->stdio);
	pidref_done(&init->engine);
	loop_done(&init->loop);
	signals_done(&init->signals);
	environment_done(&init->environment);
	if (init->log_fd != STDERR_FILENO) {
		log_set_fd(STDERR_FILENO);
		(void)fd_close(init->log_fd);
	}
}

/*
 * With a snapshot PID 1 has twice as many descriptors as without. Who has not so many is to get
 * the engine all the same, unless it was told that it is about the snapshot.
 */
static bool is_short_of_descriptors(const struct init_options *options, struct rlimit *ret)
{
	return options->snapshot && !options->fallback_none && !options->exit_when_ready &&
	       options->capture != CAPTURE_EXIT && getrlimit(RLIMIT_NOFILE, ret) == 0 &&
	       ret->rlim_cur < SNAPSHOT_NOFILE_MIN;
}

int init_run(const struct init_options *wanted)
{
	/* too big for a stack, and there is one of it */
	static struct init init;
	static struct init_options own;
	const struct init_options *options = &own;
	struct rlimit nofile;
	bool is_short = is_short_of_descriptors(wanted, &nofile);
	struct snap_error err = {.code = SNAP_OK};
	int status = STATUS_OWN_FAILURE;

	own = *wanted;
	if (is_short) {
		own.snapshot = NULL;
		own.capture = CAPTURE_NEVER;
	}
	init = (struct init){
		.options = options,
		.snapshot_off = is_short ? nofile.rlim_cur : 0,
		.loop.epoll_fd = FD_NONE,
		.signals.fd = FD_NONE,
		.notify = {.fd = FD_NONE, .engine_end = FD_NONE, .up_fd = FD_NONE},
		.worker = {.ref = PIDREF_NONE, .fd = FD_NONE, .kill_at = DEADLINE_NEVER},
		.engine = PIDREF_NONE,
		.control = {.fd = FD_NONE},
		.journal_fd = FD_NONE,
		.recovery_fd = FD_NONE,
		.kept = {FD_NONE, FD_NONE, FD_NONE},
		.received = {FD_NONE, FD_NONE, FD_NONE},
		.log_fd = STDERR_FILENO,
	};
	/* descriptors of ours must not land on 0 to 2; a plain command finds them closed again */
	init.closed_stdio = fd_fill_stdio();
	supervisor_init(&init.supervisor, &ops, &init, options);

	if (set_up(&init, &err) < 0)
		log_error("init.failed", "%s", err.msg);
	else
		status = run(&init);
	tear_down(&init);
	return status;
}
