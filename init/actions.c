/* SPDX-License-Identifier: Apache-2.0 */
#include "init/actions.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "common/device_copy.h"
#include "common/log.h"
#include "init/child.h"

#define STATUS_OWN_FAILURE 125
#define STATUS_NO_WAKE	   222

/*
 * Until the worker has read the manifest and tells a better one, which is never less than this. It
 * takes 4 ms, or 15 with nothing of it in the page cache; the rest is for images that are fetched
 * while they are used, and stores on a network.
 */
#define WAKE_FIRST_BUDGET_MS 5000
#define WAKE_LAST_WORD_MS    10000 /* from READY to DONE */
#define ENDED_EXIT_MS	     5000  /* from the last word to the worker's exit */
#define PROBE_MS	     10000
/*
 * Nobody else can help this tree, and until it is whole its memory is only on disk: 60 s bring 6
 * GiB back from a disk of 100 MB/s. A worker that has not done it by then hangs.
 */
#define RECOVER_MS	    60000 /* and twice the copy of device memory */
#define TRIED_GRACE_MS	    8000
#define DUMP_TIMEOUT_MS	    120000 /* the worker's own */
#define FROZEN_SLACK_MS	    10000
#define FROZEN_TERMINATE_MS 4000  /* without a grace: half of the least that platforms give */
#define SWEEP_MS	    10000 /* a killed process that is not gone by then runs no more code */
#define DRAIN_MS	    2000
#define SUSPEND_MS	    10000 /* and the copy of device memory */
#define SUSPEND_SLACK_MS    2000  /* the worker gives up before */

/* --- common steps ----------------------------------------------------------------------------- */

static bool asks_to_end(const struct supervisor *s, int sig)
{
	/* from a terminal it is for the command to judge */
	if (s->on_terminal && sig == SIGINT && s->options->stop_signal != SIGINT &&
	    signal_map_get(&s->options->rewrite, sig) == SIGINT)
		return false;
	return supervisor_event_of_signal(s, sig) == EVENT_TERMINATE;
}

/* the lowest held signal that asks to end, 0: none */
static int held_wish(const struct supervisor *s)
{
	for (int sig = 1; sig <= SIGNAL_MAP_MAX; sig++) {
		if (held_signals_has(&s->held, sig) && asks_to_end(s, sig))
			return sig;
	}
	return 0;
}

static void tell_engine(struct supervisor *s, int sig)
{
	int sent = signal_map_get(&s->options->rewrite, sig);
	char buf[16], sent_buf[16];

	if (sent == 0) {
		log_write(LOG_LEVEL_DEBUG, "signal.dropped",
			  (struct log_field[]){
				  LOG_TEXT("signal", signal_name(sig, buf, sizeof(buf)))},
			  1, "signal dropped by --rewrite");
		return;
	}
	s->told_sig = sent;
	if (asks_to_end(s, sig))
		s->asked_to_end_ns = clock_now_ns();
	s->ops->signal_engine(s->world, sent);
	log_write(
		LOG_LEVEL_DEBUG, "signal.forwarded",
		(struct log_field[]){LOG_TEXT("signal", signal_name(sig, buf, sizeof(buf))),
				     LOG_TEXT("as", signal_name(sent, sent_buf, sizeof(sent_buf)))},
		2, "signal passed to the engine");
}

/* failure, for what a signal that asks to end has cut short */
static void take_wish(struct supervisor *s, int sig)
{
	char buf[16];

	(void)snap_fail(&s->failure, SNAP_E_STOPPED, 0, "the container was asked to end first (%s)",
			signal_name(sig, buf, sizeof(buf)));
}

/* the engine is ready: the end of its cold boot, if that is the first time it is seen to be */
static void note_cold_boot(struct supervisor *s, uint64_t ms)
{
	if (s->cold_boot_ms == SUPERVISOR_BOOTS)
		s->cold_boot_ms = ms;
}

/* it says so by itself */
static void note_said_ready(struct supervisor *s)
{
	uint64_t ms = (clock_now_ns() - s->booted_ns) / NS_PER_MS;

	s->said_ready = true;
	note_cold_boot(s, ms > 0 ? ms : 1);
}

/* upstream hears of each engine once; one that is only tried is nobody's business */
static void tell_ready(struct supervisor *s)
{
	if (s->told_ready || s->origin != ORIGIN_COLD || s->options->capture == CAPTURE_EXIT)
		return;
	s->told_ready = true;
	s->ops->ready(s->world);
}

/* nobody looks any more: a later look would take its uptime for that */
static void give_timing_up(struct supervisor *s)
{
	if (s->options->ready_kind == READY_BY_WORKER)
		note_cold_boot(s, 0);
}

/* the engine was told to end; without a grace that is between those two, and it serves as before */
static enum supervisor_state begin_grace(struct supervisor *s)
{
	uint64_t grace_ms = s->options->grace_ms;

	s->capture_over = true;
	give_timing_up(s); /* who looked has been sent away */
	/* nobody but us will end an engine that was started to be tried */
	if (grace_ms == 0 && (s->options->exit_when_ready || s->options->capture == CAPTURE_EXIT))
		grace_ms = TRIED_GRACE_MS;
	s->deadline_ns = grace_ms > 0 ? deadline_after_ms(grace_ms) : DEADLINE_NEVER;
	return grace_ms > 0 ? STATE_STOPPING : STATE_SERVING;
}

/*
 * What was held goes to the engine. If something in it asks to end, the worker has no more to do
 * and the grace begins, else `otherwise` is next.
 */
static enum supervisor_state deliver_held(struct supervisor *s, enum supervisor_state otherwise)
{
	bool end = false;
	int sig;

	while ((sig = held_signals_take(&s->held)) > 0) {
		tell_engine(s, sig);
		end = end || asks_to_end(s, sig);
	}
	if (!end)
		return otherwise;
	s->ops->retire_worker(s->world);
	return begin_grace(s);
}

static enum supervisor_state serve(struct supervisor *s)
{
	s->deadline_ns = DEADLINE_NEVER;
	return deliver_held(s, STATE_SERVING);
}

static enum supervisor_state finish(struct supervisor *s)
{
	s->ops->dismiss_worker(s->world);
	s->ops->sweep(s->world, SWEEP_NOTHING);
	s->ops->drain(s->world);
	s->deadline_ns = deadline_after_ms(DRAIN_MS);
	return STATE_DRAINING;
}

/* what the engine left behind gets the rest of the grace, if there is one */
static enum supervisor_state leave(struct supervisor *s)
{
	if (s->options->grace_ms == 0)
		return finish(s);
	s->ops->dismiss_worker(s->world);
	s->ops->sweep(s->world, SWEEP_ASK);
	if (s->state != STATE_STOPPING || s->deadline_ns == DEADLINE_NEVER)
		s->deadline_ns = deadline_after_ms(s->options->grace_ms);
	return STATE_LEAVING;
}

static void log_gpu_open(const char *why)
{
	log_write(LOG_LEVEL_WARN, "gpu.open", NULL, 0,
		  "processes are killed that may have a GPU open: %s", why);
}

static enum supervisor_state sweep_all(struct supervisor *s, enum supervisor_state state)
{
	s->ops->sweep(s->world, SWEEP_ALL);
	s->deadline_ns = deadline_after_ms(SWEEP_MS);
	return state;
}

/*
 * Nothing below us is left, in the state given. Where a GPU's driver has restored the tree it is
 * checkpointed first: some hang the machine when such a process dies with its device open. Not so
 * a tree that is not whole, for no thread of it may run.
 */
static enum supervisor_state sweep_suspended(struct supervisor *s, enum supervisor_state state)
{
	bool suspends = s->gpu_restored && !s->ops->needs_recovery(s->world);
	uint64_t timeout_ms = SUSPEND_MS + device_copy_ms(s->device_bytes);
	struct snap_error err = {.code = SNAP_OK};

	s->gpu_restored = false;
	if (!suspends)
		return sweep_all(s, state);
	s->ops->sweep(s->world, SWEEP_NOTHING);
	if (s->ops->start_suspend(s->world, timeout_ms, &err) < 0) {
		log_gpu_open(err.msg);
		return sweep_all(s, state);
	}
	s->after_suspend = state;
	s->deadline_ns = deadline_after_ms(timeout_ms + SUSPEND_SLACK_MS);
	return STATE_SUSPENDING;
}

static enum supervisor_state kill_all(struct supervisor *s, const char *why)
{
	log_write(LOG_LEVEL_WARN, "grace.over", NULL, 0, "%s: killing everything", why);
	return sweep_suspended(s, STATE_KILLING);
}

static enum supervisor_state clean(struct supervisor *s, bool boot_after)
{
	s->ops->kill_worker(s->world);
	s->boot_after_clean = boot_after;
	return sweep_suspended(s, STATE_CLEANING);
}

static enum supervisor_state clean_and_exit(struct supervisor *s, int status)
{
	s->forced_status = status;
	return clean(s, false);
}

/* a second boot, without a capture; unless somebody asked us to end meanwhile */
static enum supervisor_state clean_and_boot(struct supervisor *s)
{
	int wish = held_wish(s);

	s->capture_over = true;
	/* no matter what it is to the command: there is none any more */
	if (held_signals_has(&s->held, SIGINT))
		return clean_and_exit(s, 128 + SIGINT);
	if (wish > 0)
		return clean_and_exit(s, 128 + wish);
	return clean(s, true);
}

static void log_engine_exit(int status)
{
	struct log_field fields[] = {LOG_UINT("status", child_exit_status(status)),
				     LOG_UINT("signal", WTERMSIG(status))};

	if (WIFSIGNALED(status))
		log_write(LOG_LEVEL_INFO, "engine.exited", fields, 2, "engine ended by signal %d",
			  WTERMSIG(status));
	else
		log_write(LOG_LEVEL_INFO, "engine.exited", fields, 1,
			  "engine exited with status %d", WEXITSTATUS(status));
}

static void take_message(struct snap_error *failure, const struct worker_msg *msg)
{
	*failure = (struct snap_error){.code = (enum snap_code)msg->code};
	memcpy(failure->msg, msg->text, sizeof(failure->msg));
}

_Static_assert(sizeof(((struct snap_error *)0)->msg) >= sizeof(((struct worker_msg *)0)->text),
	       "a worker's text fits");

static void take_worker_death(struct supervisor *s, int status)
{
	if (WIFSIGNALED(status))
		(void)snap_fail(&s->failure, SNAP_OK, 0, "the worker was killed by signal %d",
				WTERMSIG(status));
	else
		(void)snap_fail(&s->failure, SNAP_OK, 0,
				"the worker exited with status %d before it was done",
				WEXITSTATUS(status));
}

static void take_breach(struct supervisor *s, const struct event *e)
{
	if (e->msg)
		(void)snap_fail(&s->failure, SNAP_OK, 0,
				"the worker broke the protocol: '%s' while %s",
				worker_msg_name(e->msg->type), supervisor_state_name(s->state));
	else
		(void)snap_fail(&s->failure, SNAP_OK, 0,
				"the worker broke the protocol: malformed message");
}

static const char *failure_code(const struct supervisor *s)
{
	return supervisor_code_name(s->failure.code);
}

/* exit status for the failure: its code's, or `otherwise` where it has none */
static int failure_status(const struct supervisor *s, int otherwise)
{
	int status = s->failure.code == SNAP_OK ? 0 : snap_code_exit_status(s->failure.code);

	return status > 0 ? status : otherwise;
}

/* --- boot ------------------------------------------------------------------------------------- */

static void log_capture_failed(struct supervisor *s)
{
	s->report = (struct capture_report){.outcome = CAPTURE_FAILED, .code = s->failure.code};
	(void)snprintf(s->report.text, sizeof(s->report.text), "%s", s->failure.msg);
	log_write(LOG_LEVEL_WARN, "capture.failed",
		  (struct log_field[]){LOG_TEXT("code", failure_code(s))}, 1,
		  "no snapshot was made: %s", s->failure.msg);
}

static bool is_awaited(const struct supervisor *s)
{
	return !s->told_ready && s->options->ready_kind == READY_BY_WORKER &&
	       s->ops->is_awaited(s->world);
}

/* the engine serves; when it was ready nobody will know */
static void give_watch_up(struct supervisor *s, const struct snap_error *why)
{
	give_timing_up(s);
	if (is_awaited(s))
		log_write(LOG_LEVEL_WARN, "ready.unknown",
			  (struct log_field[]){LOG_TEXT("code", snap_code_name(why->code))}, 1,
			  "%s", why->msg);
}

/*
 * A worker looks when the booted engine is ready, where it does not say so itself: upstream wants
 * to know, or a capture that may be asked for in hours, when nobody could tell any more.
 */
static enum supervisor_state serve_watched(struct supervisor *s)
{
	bool is_timed = s->capturable && s->cold_boot_ms == SUPERVISOR_BOOTS &&
			s->options->ready_kind == READY_BY_WORKER;
	enum supervisor_state state = serve(s);
	struct snap_error err = {.code = SNAP_OK};

	if (state != STATE_SERVING || !s->options->snapshot || (!is_timed && !is_awaited(s)))
		return state;
	if (s->ops->start_watch(s->world, &err) < 0)
		give_watch_up(s, &err);
	return state;
}

/* failure is set; the engine is unharmed */
static enum supervisor_state give_capture_up(struct supervisor *s)
{
	int wish;

	log_capture_failed(s);
	give_timing_up(s);
	s->capture_over = true;
	s->ops->forget_recovery(s->world);
	if (s->options->capture != CAPTURE_EXIT)
		return serve_watched(s);
	wish = held_wish(s);
	s->forced_status =
		wish > 0 ? 128 + wish : failure_status(s, snap_code_exit_status(SNAP_E_DUMP));
	held_signals_add(&s->held, SIGTERM);
	return serve(s);
}

static enum supervisor_state begin_capture(struct supervisor *s)
{
	if (s->ops->start_capture(s->world, s->cold_boot_ms, &s->failure) < 0)
		return give_capture_up(s);
	s->deadline_ns = s->options->capture_timeout_ms > 0
				 ? deadline_after_ms(s->options->capture_timeout_ms)
				 : DEADLINE_NEVER;
	s->capture_deadline_ns = s->deadline_ns;
	s->report = (struct capture_report){.outcome = CAPTURE_RUNS};
	if (s->said_ready)
		(void)s->ops->answer(s->world, WORKER_MSG_ENGINE_SAYS_READY, 0);
	return deliver_held(s, STATE_CAPTURING);
}

static enum supervisor_state boot(struct supervisor *s)
{
	bool capture = !s->capture_over && (s->options->capture == CAPTURE_FIRST_BOOT ||
					    s->options->capture == CAPTURE_EXIT);
	struct snap_error err = {.code = SNAP_OK};
	int r;

	s->capturable = s->options->capture != CAPTURE_NEVER;
	s->said_ready = false;
	s->told_ready = false;
	r = s->ops->boot(s->world, s->capturable, &err);
	if (r != 0) {
		log_write(LOG_LEVEL_ERROR, "boot.failed", NULL, 0, "%s", err.msg);
		s->engine_status = r;
		if (r < 0)
			s->forced_status = STATUS_OWN_FAILURE;
		return finish(s);
	}
	log_write(LOG_LEVEL_INFO, "boot.cold",
		  (struct log_field[]){
			  LOG_UINT("engine", s->ops->engine(s->world)),
			  LOG_TEXT("reason", s->failure.msg[0] ? failure_code(s) : "none")},
		  2, "engine booted cold");
	s->failure.msg[0] = '\0';
	s->origin = ORIGIN_COLD;
	s->booted_ns = clock_now_ns();
	s->asked_to_end_ns = 0;
	s->cold_boot_ms = SUPERVISOR_BOOTS;
	s->gpu_restored = false;
	s->device_bytes = 0;
	return capture ? begin_capture(s) : serve_watched(s);
}

enum supervisor_state action_start(struct supervisor *s)
{
	if (s->options->pause)
		return STATE_PAUSED;
	/* a promised capture wants a fresh boot */
	if (!s->options->snapshot || s->options->capture == CAPTURE_EXIT)
		return boot(s);
	if (s->ops->start_wake(s->world, &s->failure) < 0)
		return act_wake_failed(s, NULL);
	s->deadline_ns =
		deadline_after_ms(s->options->wake_timeout_ms > 0 ? s->options->wake_timeout_ms
								  : WAKE_FIRST_BUDGET_MS);
	return STATE_WAKING;
}

/* --- any state -------------------------------------------------------------------------------- */

ACTION(act_nothing)
{
	(void)e;
	return s->state;
}

ACTION(act_hold)
{
	held_signals_add(&s->held, e->sig);
	return s->state;
}

ACTION(act_forward)
{
	tell_engine(s, e->sig);
	return s->state;
}

ACTION(act_terminate)
{
	tell_engine(s, e->sig);
	if (!asks_to_end(s, e->sig))
		return s->state;
	s->ops->retire_worker(s->world);
	return begin_grace(s);
}

ACTION(act_mirror)
{
	log_engine_exit(e->status);
	s->engine_status = child_exit_status(e->status);
	return leave(s);
}

/* --- wake ------------------------------------------------------------------------------------- */

static void log_wake_stopped(struct supervisor *s, int sig)
{
	take_wish(s, sig);
	log_write(LOG_LEVEL_INFO, "wake.failed",
		  (struct log_field[]){LOG_TEXT("code", failure_code(s))}, 1, "%s", s->failure.msg);
}

ACTION(act_abort_wake)
{
	log_wake_stopped(s, e->sig);
	return clean_and_exit(s, 128 + e->sig);
}

/*
 * The restored engine runs, or is about to: it ends as any engine that is told to. Nothing of the
 * wake is left to be done but to let the tree run, and the worker may not have done that yet.
 */
ACTION(act_resuming_terminate)
{
	if (!asks_to_end(s, e->sig))
		return act_forward(s, e);
	log_wake_stopped(s, e->sig);
	if (s->options->exit_when_ready)
		s->forced_status = 128 + e->sig;
	s->ops->kill_worker(s->world);
	s->origin = ORIGIN_WAKE;
	s->ops->woken(s->world, false);
	tell_engine(s, e->sig);
	s->ops->resume_tree(s->world);
	return begin_grace(s);
}

ACTION(act_budget)
{
	s->has_budget = true;
	if (s->options->wake_timeout_ms == 0)
		s->deadline_ns = deadline_after_ms(e->msg->value);
	return s->state;
}

/* told before the driver touches anything: a worker that dies in the middle could not tell */
ACTION(act_wake_gpu)
{
	s->device_bytes = e->msg->value;
	if (s->ops->answer(s->world, WORKER_MSG_GO, e->msg->id) == 0)
		s->gpu_restored = true;
	/* else nobody listens any more, and the news of its death is on its way */
	return s->state;
}

/* failure is set: exactly one line, then what the user wants instead */
static enum supervisor_state give_wake_up(struct supervisor *s, const char *event)
{
	bool first_start = s->failure.code == SNAP_E_NO_SNAPSHOT;
	int status =
		s->options->exit_when_ready ? failure_status(s, STATUS_NO_WAKE) : STATUS_NO_WAKE;

	log_write(first_start ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, event,
		  (struct log_field[]){LOG_TEXT("code", failure_code(s))}, 1, "%s",
		  s->failure.msg[0] ? s->failure.msg : "no reason given");
	if (s->options->fallback_none || s->options->exit_when_ready)
		return clean_and_exit(s, status);
	return clean(s, true);
}

ACTION(act_wake_refused)
{
	take_message(&s->failure, e->msg);
	return give_wake_up(s, "wake.refused");
}

ACTION(act_wake_failed)
{
	if (e)
		take_message(&s->failure, e->msg);
	/* it has closed them by itself */
	if (e && e->msg->value == 0)
		s->gpu_restored = false;
	return give_wake_up(s, "wake.failed");
}

ACTION(act_wake_breach)
{
	take_breach(s, e);
	return give_wake_up(s, "wake.failed");
}

ACTION(act_wake_late)
{
	(void)e;
	if (s->has_budget || s->options->wake_timeout_ms > 0)
		(void)snap_fail(&s->failure, SNAP_E_BUDGET, 0,
				"the wake took longer than it may (while %s)",
				supervisor_state_name(s->state));
	else
		(void)snap_fail(
			&s->failure, SNAP_E_BUDGET, 0,
			"the worker has not read the snapshot's manifest within %d s: it or "
			"the store hangs",
			WAKE_FIRST_BUDGET_MS / 1000);
	return give_wake_up(s, "wake.failed");
}

ACTION(act_wake_worker_died)
{
	take_worker_death(s, e->status);
	return give_wake_up(s, "wake.failed");
}

ACTION(act_wake_engine_died)
{
	bool as_told = WIFSIGNALED(e->status) && WTERMSIG(e->status) == s->told_sig;

	(void)snap_fail(&s->failure, SNAP_E_RESTORE, 0,
			"the restored engine ended before it answered (status %d)",
			child_exit_status(e->status));
	/* what we passed on ended it, so that is what it should do */
	if (as_told) {
		log_write(LOG_LEVEL_INFO, "wake.failed",
			  (struct log_field[]){LOG_TEXT("code", failure_code(s))}, 1, "%s",
			  s->failure.msg);
		return act_mirror(s, e);
	}
	return give_wake_up(s, "wake.failed");
}

ACTION(act_restored)
{
	if (s->ops->adopt(s->world, (pid_t)e->msg->pid, &s->failure) < 0)
		return give_wake_up(s, "wake.failed");
	if (s->ops->answer(s->world, WORKER_MSG_RESUME, e->msg->id) < 0) {
		(void)snap_fail(&s->failure, SNAP_OK, 0, "the worker does not listen any more");
		return give_wake_up(s, "wake.failed");
	}
	return deliver_held(s, STATE_RESUMING);
}

ACTION(act_ready)
{
	(void)e;
	s->origin = ORIGIN_WAKE;
	s->said_ready = true;
	s->told_ready = true;
	s->capturable = true;
	s->ready_ns = clock_now_ns();
	s->ops->woken(s->world, true);
	s->deadline_ns = deadline_after_ms(WAKE_LAST_WORD_MS);
	return STATE_WOKEN;
}

static void log_wake_done(struct supervisor *s, const char *generation)
{
	log_write(
		LOG_LEVEL_INFO, "wake.done",
		(struct log_field[]){LOG_UINT("engine", s->ops->engine(s->world)),
				     LOG_UINT("dur_ms", (s->ready_ns - s->started_ns) / NS_PER_MS),
				     LOG_TEXT("snapshot", generation)},
		3, "engine is awake");
}

/* with --exit-when-ready the engine has shown all it had to */
static enum supervisor_state end_or_serve(struct supervisor *s, int status)
{
	if (s->options->exit_when_ready) {
		s->forced_status = status;
		held_signals_add(&s->held, SIGTERM);
	}
	return serve(s);
}

ACTION(act_woken_mirror)
{
	log_wake_done(s, "");
	return act_mirror(s, e);
}

ACTION(act_woken_terminate)
{
	log_wake_done(s, "");
	return act_terminate(s, e);
}

ACTION(act_wake_done)
{
	log_wake_done(s, e->msg->text);
	(void)snprintf(s->generation, sizeof(s->generation), "%s", e->msg->text);
	s->cold_boot_ms = e->msg->value;
	s->ops->retire_worker(s->world);
	return end_or_serve(s, 0);
}

ACTION(act_wake_worker_lost)
{
	log_wake_done(s, "");
	if (e->type == EVENT_WORKER_EXIT)
		take_worker_death(s, e->status);
	else if (e->type == EVENT_DEADLINE)
		(void)snap_fail(&s->failure, SNAP_OK, 0, "the worker did not say that it is done");
	else
		take_breach(s, e);
	log_write(LOG_LEVEL_WARN, "worker.lost", NULL, 0, "%s; the engine serves", s->failure.msg);
	s->failure.msg[0] = '\0';
	s->ops->kill_worker(s->world);
	return end_or_serve(s, STATUS_NO_WAKE);
}

/* --- capture ---------------------------------------------------------------------------------- */

ACTION(act_terminate_capture)
{
	if (asks_to_end(s, e->sig)) {
		s->ops->dismiss_worker(s->world);
		take_wish(s, e->sig);
		log_capture_failed(s);
		if (s->options->capture == CAPTURE_EXIT)
			s->forced_status = 128 + e->sig;
	}
	return act_terminate(s, e);
}

/* for a capture to come */
ACTION(act_note_ready)
{
	(void)e;
	note_said_ready(s);
	tell_ready(s);
	return s->state;
}

ACTION(act_asked_capture)
{
	(void)e;
	s->ops->kill_worker(s->world); /* one that times the boot: the capture does so as well */
	return begin_capture(s);
}

ACTION(act_watched)
{
	note_cold_boot(s, e->msg->value);
	tell_ready(s);
	s->ops->retire_worker(s->world);
	return s->state;
}

ACTION(act_watch_lost)
{
	struct snap_error failure = s->failure;

	if (e->type == EVENT_FAILED)
		take_message(&s->failure, e->msg);
	else if (e->type == EVENT_WORKER_EXIT)
		take_worker_death(s, e->status);
	else
		take_breach(s, e);
	give_watch_up(s, &s->failure);
	s->failure = failure;
	s->ops->kill_worker(s->world);
	return s->state;
}

ACTION(act_capture_ready)
{
	note_cold_boot(s, e->msg->value);
	tell_ready(s);
	return s->state;
}

ACTION(act_says_ready)
{
	(void)e;
	note_said_ready(s);
	(void)s->ops->answer(s->world, WORKER_MSG_ENGINE_SAYS_READY, 0);
	return s->state;
}

static void shorten_deadline(struct supervisor *s, uint64_t timeout_ms)
{
	uint64_t deadline = deadline_after_ms(timeout_ms);

	if (deadline < s->deadline_ns)
		s->deadline_ns = deadline;
}

/* the first is held, and there is a grace to be shortened */
static bool is_second_wish(const struct supervisor *s, int sig)
{
	return s->options->grace_ms > 0 && asks_to_end(s, sig) && held_wish(s) > 0;
}

/* nothing is taken back any more: what is stopped or has holes in its memory dies as well */
ACTION(act_mend_terminate)
{
	if (!is_second_wish(s, e->sig))
		return act_hold(s, e);
	if (s->options->capture == CAPTURE_EXIT)
		s->forced_status = 128 + e->sig;
	s->engine_status = 128 + SIGKILL;
	s->capture_over = true;
	s->ops->kill_worker(s->world);
	return kill_all(s, "asked to end for the second time");
}

/* held like any signal, but who wants us to end does not wait for a long dump */
ACTION(act_frozen_terminate)
{
	uint64_t half_ms = s->options->grace_ms / 2;

	if (is_second_wish(s, e->sig)) {
		take_wish(s, e->sig);
		log_capture_failed(s);
		return act_mend_terminate(s, e);
	}
	if (asks_to_end(s, e->sig)) {
		s->ops->stop_worker(s->world);
		shorten_deadline(s, half_ms > 0 ? half_ms : FROZEN_TERMINATE_MS);
	}
	return act_hold(s, e);
}

ACTION(act_freeze)
{
	if (s->ops->answer(s->world, WORKER_MSG_GO, e->msg->id) == 0) {
		uint64_t dump_ms =
			s->options->dump_timeout_ms ? s->options->dump_timeout_ms : DUMP_TIMEOUT_MS;

		/* when it goes on, the driver will have restored it */
		s->gpu_restored = s->gpu_restored || e->msg->value > 0;
		if (e->msg->value > 0)
			s->device_bytes = e->msg->value;
		/* the worker ends a dump that takes too long; this is for one that cannot */
		shorten_deadline(s, FROZEN_SLACK_MS + dump_ms + 2 * device_copy_ms(e->msg->value));
		return STATE_FROZEN;
	}
	(void)snap_fail(&s->failure, SNAP_OK, 0, "the worker does not listen any more");
	s->ops->kill_worker(s->world);
	return give_capture_up(s);
}

/* from now on the engine's memory can be found without the worker, and without the store */
ACTION(act_keep)
{
	s->ops->keep(s->world);
	/* where nobody listens any more, the news of its death is on its way */
	(void)s->ops->answer(s->world, WORKER_MSG_KEPT, e->msg->id);
	return s->state;
}

/* the tree may be stopped or half its own: failure is set */
static enum supervisor_state mend(struct supervisor *s)
{
	log_capture_failed(s);
	s->capture_over = true;
	s->ops->kill_worker(s->world);
	if (s->options->capture == CAPTURE_EXIT)
		return clean_and_exit(s, failure_status(s, snap_code_exit_status(SNAP_E_DUMP)));
	s->ops->sweep(s->world, SWEEP_INTRUDERS);
	s->deadline_ns = deadline_after_ms(SWEEP_MS);
	return STATE_MENDING;
}

/* by the dump, checkpointed: nothing is left of it that has a GPU open */
static enum supervisor_state ended(struct supervisor *s)
{
	s->gpu_restored = false;
	return STATE_ENDED;
}

ACTION(act_thawed)
{
	/* a tree that runs has nothing in its journal */
	if (e->msg->value == 0 && s->ops->needs_recovery(s->world)) {
		take_breach(s, e);
		return mend(s);
	}
	if (e->msg->value == 0) {
		enum supervisor_state state;
		int wish;

		s->deadline_ns = s->capture_deadline_ns;
		s->ops->release(s->world);
		wish = held_wish(s);
		state = deliver_held(s, STATE_THAWED);
		if (wish > 0) {
			s->ops->dismiss_worker(s->world);
			take_wish(s, wish);
			log_capture_failed(s);
		}
		return state;
	}
	if (s->options->capture == CAPTURE_EXIT)
		return ended(s);
	return act_frozen_breach(s, e);
}

static void log_capture_done(struct supervisor *s, const struct worker_msg *msg)
{
	s->report = (struct capture_report){.outcome = CAPTURE_MADE};
	(void)snprintf(s->report.text, sizeof(s->report.text), "%s", msg->text);
	log_write(LOG_LEVEL_INFO, "capture.done",
		  (struct log_field[]){LOG_TEXT("snapshot", msg->text)}, 1, "snapshot made");
}

ACTION(act_capture_done)
{
	log_capture_done(s, e->msg);
	s->capture_over = true;
	s->ops->retire_worker(s->world);
	s->ops->forget_recovery(s->world);
	if (s->options->capture == CAPTURE_EXIT) {
		s->forced_status = 0;
		held_signals_add(&s->held, SIGTERM);
	}
	return serve(s);
}

ACTION(act_capture_failed)
{
	take_message(&s->failure, e->msg);
	if (e->msg->value == 1)
		return mend(s);
	s->ops->retire_worker(s->world);
	return give_capture_up(s);
}

ACTION(act_capture_breach)
{
	take_breach(s, e);
	s->ops->kill_worker(s->world);
	return give_capture_up(s);
}

ACTION(act_capture_late)
{
	(void)e;
	(void)snap_fail(&s->failure, SNAP_E_DUMP, 0, "the capture took longer than it may");
	s->ops->kill_worker(s->world);
	return give_capture_up(s);
}

ACTION(act_capture_worker_died)
{
	take_worker_death(s, e->status);
	return give_capture_up(s);
}

ACTION(act_capture_engine_ended)
{
	(void)snap_fail(&s->failure, SNAP_E_NOT_READY, 0, "the engine ended first");
	log_capture_failed(s);
	/* a promised snapshot was not made: success of the engine is no success here */
	if (s->options->capture == CAPTURE_EXIT && child_exit_status(e->status) == 0)
		s->forced_status = failure_status(s, STATUS_OWN_FAILURE);
	return act_mirror(s, e);
}

ACTION(act_frozen_engine_ended)
{
	if (s->options->capture == CAPTURE_EXIT)
		return ended(s); /* CRIU ends the tree before the worker can say so */
	if (WIFEXITED(e->status))
		return act_capture_engine_ended(s, e);
	log_engine_exit(e->status);
	(void)snap_fail(&s->failure, SNAP_E_DUMP, 0, "the engine died in mid-capture (signal %d)",
			WTERMSIG(e->status));
	log_capture_failed(s);
	return clean_and_boot(s);
}

ACTION(act_frozen_failed)
{
	take_message(&s->failure, e->msg);
	if (e->msg->value == 1 || s->ops->needs_recovery(s->world))
		return mend(s);
	s->ops->retire_worker(s->world);
	return give_capture_up(s);
}

ACTION(act_frozen_breach)
{
	take_breach(s, e);
	return mend(s);
}

ACTION(act_frozen_late)
{
	int wish = held_wish(s);

	(void)e;
	if (wish > 0)
		take_wish(s, wish);
	else
		(void)snap_fail(&s->failure, SNAP_E_DUMP, 0, "the capture took longer than it may");
	return mend(s);
}

ACTION(act_frozen_worker_died)
{
	take_worker_death(s, e->status);
	return mend(s);
}

/* --- the engine was ended by its capture ------------------------------------------------------ */

ACTION(act_ended_terminate)
{
	take_wish(s, e->sig);
	if (!s->worker_done)
		log_capture_failed(s);
	return clean_and_exit(s, 128 + e->sig);
}

/* the last word is said: what it has to tidy up is done when it exits */
static enum supervisor_state await_worker_exit(struct supervisor *s, int status)
{
	s->forced_status = status;
	s->worker_done = true;
	s->deadline_ns = deadline_after_ms(ENDED_EXIT_MS);
	return STATE_ENDED;
}

ACTION(act_ended_done)
{
	log_capture_done(s, e->msg);
	return await_worker_exit(s, 0);
}

ACTION(act_ended_failed)
{
	take_message(&s->failure, e->msg);
	log_capture_failed(s);
	return await_worker_exit(s, failure_status(s, snap_code_exit_status(SNAP_E_DUMP)));
}

/* failure is set; not of interest if the last word was said */
static enum supervisor_state leave_ended(struct supervisor *s)
{
	if (s->worker_done)
		return clean(s, false);
	log_capture_failed(s);
	return clean_and_exit(s, failure_status(s, snap_code_exit_status(SNAP_E_DUMP)));
}

ACTION(act_ended_breach)
{
	take_breach(s, e);
	return leave_ended(s);
}

ACTION(act_ended_late)
{
	(void)e;
	(void)snap_fail(&s->failure, SNAP_E_DUMP, 0, "the capture took longer than it may");
	return leave_ended(s);
}

ACTION(act_ended_worker_exit)
{
	take_worker_death(s, e->status);
	return leave_ended(s);
}

/* --- mending ---------------------------------------------------------------------------------- */

static enum supervisor_state boot_again(struct supervisor *s, const char *why)
{
	log_write(LOG_LEVEL_WARN, "engine.harmed", NULL, 0, "the engine does not survive: %s", why);
	(void)snap_fail(&s->failure, SNAP_E_DUMP, 0, "%s", why);
	return clean_and_boot(s);
}

ACTION(act_mend_engine_ended)
{
	if (WIFEXITED(e->status))
		return act_mirror(s, e);
	log_engine_exit(e->status);
	return boot_again(s, "it died after the broken capture");
}

/* the tree is whole, and nobody is left who holds it */
static enum supervisor_state resume_and_probe(struct supervisor *s)
{
	struct snap_error err;

	s->ops->forget_recovery(s->world);
	s->ops->resume_tree(s->world);
	/* somebody wants us to end: then it does not matter how well the engine is */
	if (held_wish(s) > 0)
		return serve(s);
	if (s->ops->start_probe(s->world, &err) < 0)
		return boot_again(s, err.msg);
	s->deadline_ns = deadline_after_ms(PROBE_MS);
	return STATE_PROBING;
}

ACTION(act_mended)
{
	struct snap_error err;

	(void)e;
	s->ops->sweep(s->world, SWEEP_NOTHING);
	if (!s->ops->needs_recovery(s->world))
		return resume_and_probe(s);
	if (s->ops->start_recover(s->world, &err) < 0)
		return boot_again(s, err.msg);
	/* a copy that the dead worker has begun, and the one back */
	s->deadline_ns = deadline_after_ms(RECOVER_MS + 2 * device_copy_ms(s->device_bytes));
	return STATE_RECOVERING;
}

ACTION(act_recovered)
{
	(void)e;
	log_info("engine.recovered",
		 "memory and registers of the engine are what they were before the capture");
	s->ops->retire_worker(s->world);
	return resume_and_probe(s);
}

ACTION(act_not_recovered)
{
	char why[sizeof(((struct snap_error *)0)->msg)];
	const char *reason = "the worker failed";

	if (e->type == EVENT_FAILED)
		reason = e->msg->text;
	else if (e->type == EVENT_DEADLINE)
		reason = "it took too long";
	(void)snprintf(why, sizeof(why), "its memory could not be brought back: %.800s", reason);
	return boot_again(s, why);
}

ACTION(act_mend_late)
{
	(void)e;
	return boot_again(s, "what the capture left behind cannot be killed");
}

ACTION(act_probe_terminate)
{
	if (!asks_to_end(s, e->sig))
		return act_hold(s, e);
	s->ops->kill_worker(s->world);
	held_signals_add(&s->held, e->sig);
	return serve(s);
}

ACTION(act_unharmed)
{
	(void)e;
	log_info("engine.unharmed", "the engine works after the broken capture");
	s->ops->retire_worker(s->world);
	s->failure.msg[0] = '\0';
	return serve(s);
}

/* whole it is, and it cannot answer to us while somebody else stops it as they like */
static enum supervisor_state serve_traced(struct supervisor *s, pid_t tracer)
{
	log_write(
		LOG_LEVEL_WARN, "engine.traced", (struct log_field[]){LOG_UINT("tracer", tracer)},
		1,
		"the engine is traced, so whether it works after the broken capture is not known");
	s->ops->kill_worker(s->world);
	s->failure.msg[0] = '\0';
	return serve(s);
}

ACTION(act_harmed)
{
	pid_t tracer;

	if (s->ops->is_traced(s->world, &tracer))
		return serve_traced(s, tracer);
	if (e->type == EVENT_FAILED)
		return boot_again(s, e->msg->text);
	if (e->type == EVENT_DEADLINE)
		return boot_again(s, "it does not answer");
	return boot_again(s, "the probe failed");
}

/* --- GPUs are closed before the tree is killed ------------------------------------------------ */

/* it was to end, or is to boot again: the failure that is told then is not this one */
static void log_not_suspended(struct supervisor *s, const struct event *e)
{
	struct snap_error failure = s->failure;

	if (e->type == EVENT_FAILED)
		take_message(&s->failure, e->msg);
	else if (e->type == EVENT_WORKER_EXIT)
		take_worker_death(s, e->status);
	else if (e->type == EVENT_DEADLINE)
		(void)snap_fail(&s->failure, SNAP_OK, 0, "the worker does not come to an end");
	else
		take_breach(s, e);
	log_gpu_open(s->failure.msg);
	s->failure = failure;
}

ACTION(act_suspended)
{
	if (e->type == EVENT_DONE)
		log_write(LOG_LEVEL_INFO, "gpu.suspended",
			  (struct log_field[]){LOG_UINT("processes", e->msg->value)}, 1,
			  "CUDA processes are checkpointed before they are killed");
	else
		log_not_suspended(s, e);
	s->ops->kill_worker(s->world);
	return sweep_all(s, s->after_suspend);
}

ACTION(act_suspend_terminate)
{
	return s->after_suspend == STATE_CLEANING ? act_clean_terminate(s, e) : s->state;
}

ACTION(act_suspend_signal)
{
	return s->after_suspend == STATE_CLEANING ? act_hold(s, e) : s->state;
}

ACTION(act_suspend_engine_ended)
{
	return s->after_suspend == STATE_KILLING ? act_killed_engine(s, e) : s->state;
}

/* --- the end, or another beginning ------------------------------------------------------------ */

ACTION(act_clean_terminate)
{
	s->boot_after_clean = false;
	s->forced_status = 128 + e->sig;
	return s->state;
}

ACTION(act_cleaned)
{
	(void)e;
	s->ops->sweep(s->world, SWEEP_NOTHING);
	return s->boot_after_clean ? boot(s) : finish(s);
}

ACTION(act_clean_late)
{
	log_warn("clean.late", "killed processes are still there; going on without them");
	return act_cleaned(s, e);
}

ACTION(act_grace_over)
{
	(void)e;
	s->engine_status = 128 + SIGKILL;
	return kill_all(s, "the engine did not end in time");
}

/* the engine hears of it, too */
ACTION(act_hurry)
{
	tell_engine(s, e->sig);
	if (!asks_to_end(s, e->sig))
		return s->state;
	s->engine_status = 128 + SIGKILL;
	return kill_all(s, "asked to end for the second time");
}

ACTION(act_leave_now)
{
	return kill_all(s, e->type == EVENT_DEADLINE ? "left-over processes did not end in time"
						     : "asked to end for the second time");
}

ACTION(act_left)
{
	(void)e;
	return finish(s);
}

ACTION(act_pause_over)
{
	(void)e;
	s->forced_status = 0;
	return leave(s);
}

ACTION(act_killed_engine)
{
	log_engine_exit(e->status);
	s->engine_status = child_exit_status(e->status);
	return s->state;
}

ACTION(act_killed_all)
{
	(void)e;
	return finish(s);
}

ACTION(act_gone)
{
	(void)s;
	(void)e;
	return STATE_GONE;
}
