/* SPDX-License-Identifier: Apache-2.0 */
#include "init/supervisor.h"

#include <errno.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "init/actions.h"

static const char *const state_names[] = {
	[STATE_WAKING] = "waking",	   [STATE_RESUMING] = "resuming",
	[STATE_WOKEN] = "woken",	   [STATE_SERVING] = "serving",
	[STATE_PAUSED] = "paused",	   [STATE_LEAVING] = "leaving",
	[STATE_CAPTURING] = "capturing",   [STATE_FROZEN] = "frozen",
	[STATE_THAWED] = "thawed",	   [STATE_ENDED] = "ended",
	[STATE_MENDING] = "mending",	   [STATE_RECOVERING] = "recovering",
	[STATE_PROBING] = "probing",	   [STATE_CLEANING] = "cleaning",
	[STATE_STOPPING] = "stopping",	   [STATE_KILLING] = "killing",
	[STATE_DRAINING] = "draining",	   [STATE_GONE] = "gone",
	[STATE_SUSPENDING] = "suspending",
};

static const char *const event_names[] = {
	[EVENT_TERMINATE] = "terminate",
	[EVENT_SIGNAL] = "signal",
	[EVENT_ENGINE_EXIT] = "engine-exit",
	[EVENT_WORKER_EXIT] = "worker-exit",
	[EVENT_BREACH] = "breach",
	[EVENT_BUDGET] = "budget",
	[EVENT_REFUSED] = "refused",
	[EVENT_GPU] = "gpu",
	[EVENT_RESTORED] = "restored",
	[EVENT_READY] = "ready",
	[EVENT_FREEZE] = "freeze",
	[EVENT_KEEP] = "keep",
	[EVENT_THAWED] = "thawed",
	[EVENT_DONE] = "done",
	[EVENT_FAILED] = "failed",
	[EVENT_DEADLINE] = "deadline",
	[EVENT_CLEAN] = "clean",
	[EVENT_DRAINED] = "drained",
	[EVENT_SAYS_READY] = "says-ready",
	[EVENT_ASKED_CAPTURE] = "asked-capture",
};

_Static_assert(ARRAY_LEN(state_names) == STATE_MAX_, "one name a state");
_Static_assert(ARRAY_LEN(event_names) == EVENT_MAX_, "one name an event");

/*
 * Every cell is written out, also those that can only be reached by a race: a worker's message
 * that was on its way while we left the state, a child that dies at the same moment.
 */
/* clang-format off */
static const action_fn table[STATE_MAX_][EVENT_MAX_] = {
	[STATE_WAKING] = {
		[EVENT_TERMINATE]   = act_abort_wake,
		[EVENT_SIGNAL]      = act_hold,
		[EVENT_ENGINE_EXIT] = act_nothing,
		[EVENT_WORKER_EXIT] = act_wake_worker_died,
		[EVENT_BREACH]      = act_wake_breach,
		[EVENT_BUDGET]      = act_budget,
		[EVENT_REFUSED]     = act_wake_refused,
		[EVENT_GPU]         = act_wake_gpu,
		[EVENT_RESTORED]    = act_restored,
		[EVENT_READY]       = act_wake_breach,
		[EVENT_FREEZE]      = act_wake_breach,
		[EVENT_KEEP]        = act_wake_breach,
		[EVENT_THAWED]      = act_wake_breach,
		[EVENT_DONE]        = act_wake_breach,
		[EVENT_FAILED]      = act_wake_failed,
		[EVENT_DEADLINE]    = act_wake_late,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_RESUMING] = {
		[EVENT_TERMINATE]   = act_resuming_terminate,
		[EVENT_SIGNAL]      = act_forward,
		[EVENT_ENGINE_EXIT] = act_wake_engine_died,
		[EVENT_WORKER_EXIT] = act_wake_worker_died,
		[EVENT_BREACH]      = act_wake_breach,
		[EVENT_BUDGET]      = act_budget,
		[EVENT_REFUSED]     = act_wake_breach,
		[EVENT_GPU]         = act_wake_breach,
		[EVENT_RESTORED]    = act_wake_breach,
		[EVENT_READY]       = act_ready,
		[EVENT_FREEZE]      = act_wake_breach,
		[EVENT_KEEP]        = act_wake_breach,
		[EVENT_THAWED]      = act_wake_breach,
		[EVENT_DONE]        = act_wake_breach,
		[EVENT_FAILED]      = act_wake_failed,
		[EVENT_DEADLINE]    = act_wake_late,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_note_ready,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_WOKEN] = {
		[EVENT_TERMINATE]   = act_woken_terminate,
		[EVENT_SIGNAL]      = act_forward,
		[EVENT_ENGINE_EXIT] = act_woken_mirror,
		[EVENT_WORKER_EXIT] = act_wake_worker_lost,
		[EVENT_BREACH]      = act_wake_worker_lost,
		[EVENT_BUDGET]      = act_wake_worker_lost,
		[EVENT_REFUSED]     = act_wake_worker_lost,
		[EVENT_GPU]         = act_wake_worker_lost,
		[EVENT_RESTORED]    = act_wake_worker_lost,
		[EVENT_READY]       = act_wake_worker_lost,
		[EVENT_FREEZE]      = act_wake_worker_lost,
		[EVENT_KEEP]        = act_wake_worker_lost,
		[EVENT_THAWED]      = act_wake_worker_lost,
		[EVENT_DONE]        = act_wake_done,
		[EVENT_FAILED]      = act_wake_failed,
		[EVENT_DEADLINE]    = act_wake_worker_lost,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_note_ready,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_SERVING] = {
		[EVENT_TERMINATE]   = act_terminate,
		[EVENT_SIGNAL]      = act_forward,
		[EVENT_ENGINE_EXIT] = act_mirror,
		[EVENT_WORKER_EXIT] = act_watch_lost,
		[EVENT_BREACH]      = act_watch_lost,
		[EVENT_BUDGET]      = act_watch_lost,
		[EVENT_REFUSED]     = act_watch_lost,
		[EVENT_GPU]         = act_watch_lost,
		[EVENT_RESTORED]    = act_watch_lost,
		[EVENT_READY]       = act_watched,
		[EVENT_FREEZE]      = act_watch_lost,
		[EVENT_KEEP]        = act_watch_lost,
		[EVENT_THAWED]      = act_watch_lost,
		[EVENT_DONE]        = act_watch_lost,
		[EVENT_FAILED]      = act_watch_lost,
		[EVENT_DEADLINE]    = act_nothing,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_note_ready,
		[EVENT_ASKED_CAPTURE] = act_asked_capture,
	},
	[STATE_PAUSED] = {
		[EVENT_TERMINATE]   = act_pause_over,
		[EVENT_SIGNAL]      = act_nothing,
		[EVENT_ENGINE_EXIT] = act_nothing,
		[EVENT_WORKER_EXIT] = act_nothing,
		[EVENT_BREACH]      = act_nothing,
		[EVENT_BUDGET]      = act_nothing,
		[EVENT_REFUSED]     = act_nothing,
		[EVENT_GPU]         = act_nothing,
		[EVENT_RESTORED]    = act_nothing,
		[EVENT_READY]       = act_nothing,
		[EVENT_FREEZE]      = act_nothing,
		[EVENT_KEEP]        = act_nothing,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_nothing,
		[EVENT_FAILED]      = act_nothing,
		[EVENT_DEADLINE]    = act_nothing,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_CAPTURING] = {
		[EVENT_TERMINATE]   = act_terminate_capture,
		[EVENT_SIGNAL]      = act_forward,
		[EVENT_ENGINE_EXIT] = act_capture_engine_ended,
		[EVENT_WORKER_EXIT] = act_capture_worker_died,
		[EVENT_BREACH]      = act_capture_breach,
		[EVENT_BUDGET]      = act_capture_breach,
		[EVENT_REFUSED]     = act_capture_breach,
		[EVENT_GPU]         = act_capture_breach,
		[EVENT_RESTORED]    = act_capture_breach,
		[EVENT_READY]       = act_capture_ready,
		[EVENT_FREEZE]      = act_freeze,
		[EVENT_KEEP]        = act_capture_breach,
		[EVENT_THAWED]      = act_capture_breach,
		[EVENT_DONE]        = act_capture_breach,
		[EVENT_FAILED]      = act_capture_failed,
		[EVENT_DEADLINE]    = act_capture_late,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_says_ready,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_FROZEN] = {
		[EVENT_TERMINATE]   = act_frozen_terminate,
		[EVENT_SIGNAL]      = act_hold,
		[EVENT_ENGINE_EXIT] = act_frozen_engine_ended,
		[EVENT_WORKER_EXIT] = act_frozen_worker_died,
		[EVENT_BREACH]      = act_frozen_breach,
		[EVENT_BUDGET]      = act_frozen_breach,
		[EVENT_REFUSED]     = act_frozen_breach,
		[EVENT_GPU]         = act_frozen_breach,
		[EVENT_RESTORED]    = act_frozen_breach,
		[EVENT_READY]       = act_frozen_breach,
		[EVENT_FREEZE]      = act_frozen_breach,
		[EVENT_KEEP]        = act_keep,
		[EVENT_THAWED]      = act_thawed,
		[EVENT_DONE]        = act_frozen_breach,
		[EVENT_FAILED]      = act_frozen_failed,
		[EVENT_DEADLINE]    = act_frozen_late,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_note_ready,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_THAWED] = {
		[EVENT_TERMINATE]   = act_terminate_capture,
		[EVENT_SIGNAL]      = act_forward,
		[EVENT_ENGINE_EXIT] = act_capture_engine_ended,
		[EVENT_WORKER_EXIT] = act_capture_worker_died,
		[EVENT_BREACH]      = act_capture_breach,
		[EVENT_BUDGET]      = act_capture_breach,
		[EVENT_REFUSED]     = act_capture_breach,
		[EVENT_GPU]         = act_capture_breach,
		[EVENT_RESTORED]    = act_capture_breach,
		[EVENT_READY]       = act_capture_breach,
		[EVENT_FREEZE]      = act_capture_breach,
		[EVENT_KEEP]        = act_capture_breach,
		[EVENT_THAWED]      = act_capture_breach,
		[EVENT_DONE]        = act_capture_done,
		[EVENT_FAILED]      = act_capture_failed,
		[EVENT_DEADLINE]    = act_capture_late,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_note_ready,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_ENDED] = {
		[EVENT_TERMINATE]   = act_ended_terminate,
		[EVENT_SIGNAL]      = act_nothing,
		[EVENT_ENGINE_EXIT] = act_nothing,
		[EVENT_WORKER_EXIT] = act_ended_worker_exit,
		[EVENT_BREACH]      = act_ended_breach,
		[EVENT_BUDGET]      = act_ended_breach,
		[EVENT_REFUSED]     = act_ended_breach,
		[EVENT_GPU]         = act_ended_breach,
		[EVENT_RESTORED]    = act_ended_breach,
		[EVENT_READY]       = act_ended_breach,
		[EVENT_FREEZE]      = act_ended_breach,
		[EVENT_KEEP]        = act_ended_breach,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_ended_done,
		[EVENT_FAILED]      = act_ended_failed,
		[EVENT_DEADLINE]    = act_ended_late,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_MENDING] = {
		[EVENT_TERMINATE]   = act_mend_terminate,
		[EVENT_SIGNAL]      = act_hold,
		[EVENT_ENGINE_EXIT] = act_mend_engine_ended,
		[EVENT_WORKER_EXIT] = act_nothing,
		[EVENT_BREACH]      = act_nothing,
		[EVENT_BUDGET]      = act_nothing,
		[EVENT_REFUSED]     = act_nothing,
		[EVENT_GPU]         = act_nothing,
		[EVENT_RESTORED]    = act_nothing,
		[EVENT_READY]       = act_nothing,
		[EVENT_FREEZE]      = act_nothing,
		[EVENT_KEEP]        = act_nothing,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_nothing,
		[EVENT_FAILED]      = act_nothing,
		[EVENT_DEADLINE]    = act_mend_late,
		[EVENT_CLEAN]       = act_mended,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_note_ready,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_RECOVERING] = {
		[EVENT_TERMINATE]   = act_mend_terminate,
		[EVENT_SIGNAL]      = act_hold,
		[EVENT_ENGINE_EXIT] = act_mend_engine_ended,
		[EVENT_WORKER_EXIT] = act_not_recovered,
		[EVENT_BREACH]      = act_not_recovered,
		[EVENT_BUDGET]      = act_not_recovered,
		[EVENT_REFUSED]     = act_not_recovered,
		[EVENT_GPU]         = act_not_recovered,
		[EVENT_RESTORED]    = act_not_recovered,
		[EVENT_READY]       = act_not_recovered,
		[EVENT_FREEZE]      = act_not_recovered,
		[EVENT_KEEP]        = act_not_recovered,
		[EVENT_THAWED]      = act_not_recovered,
		[EVENT_DONE]        = act_recovered,
		[EVENT_FAILED]      = act_not_recovered,
		[EVENT_DEADLINE]    = act_not_recovered,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_note_ready,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_PROBING] = {
		[EVENT_TERMINATE]   = act_probe_terminate,
		[EVENT_SIGNAL]      = act_hold,
		[EVENT_ENGINE_EXIT] = act_mend_engine_ended,
		[EVENT_WORKER_EXIT] = act_harmed,
		[EVENT_BREACH]      = act_harmed,
		[EVENT_BUDGET]      = act_harmed,
		[EVENT_REFUSED]     = act_harmed,
		[EVENT_GPU]         = act_harmed,
		[EVENT_RESTORED]    = act_harmed,
		[EVENT_READY]       = act_harmed,
		[EVENT_FREEZE]      = act_harmed,
		[EVENT_KEEP]        = act_harmed,
		[EVENT_THAWED]      = act_harmed,
		[EVENT_DONE]        = act_unharmed,
		[EVENT_FAILED]      = act_harmed,
		[EVENT_DEADLINE]    = act_harmed,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_note_ready,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_SUSPENDING] = {
		[EVENT_TERMINATE]   = act_suspend_terminate,
		[EVENT_SIGNAL]      = act_suspend_signal,
		[EVENT_ENGINE_EXIT] = act_suspend_engine_ended,
		[EVENT_WORKER_EXIT] = act_suspended,
		[EVENT_BREACH]      = act_suspended,
		[EVENT_BUDGET]      = act_suspended,
		[EVENT_REFUSED]     = act_suspended,
		[EVENT_GPU]         = act_suspended,
		[EVENT_RESTORED]    = act_suspended,
		[EVENT_READY]       = act_suspended,
		[EVENT_FREEZE]      = act_suspended,
		[EVENT_KEEP]        = act_suspended,
		[EVENT_THAWED]      = act_suspended,
		[EVENT_DONE]        = act_suspended,
		[EVENT_FAILED]      = act_suspended,
		[EVENT_DEADLINE]    = act_suspended,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_CLEANING] = {
		[EVENT_TERMINATE]   = act_clean_terminate,
		[EVENT_SIGNAL]      = act_hold,
		[EVENT_ENGINE_EXIT] = act_nothing,
		[EVENT_WORKER_EXIT] = act_nothing,
		[EVENT_BREACH]      = act_nothing,
		[EVENT_BUDGET]      = act_nothing,
		[EVENT_REFUSED]     = act_nothing,
		[EVENT_GPU]         = act_nothing,
		[EVENT_RESTORED]    = act_nothing,
		[EVENT_READY]       = act_nothing,
		[EVENT_FREEZE]      = act_nothing,
		[EVENT_KEEP]        = act_nothing,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_nothing,
		[EVENT_FAILED]      = act_nothing,
		[EVENT_DEADLINE]    = act_clean_late,
		[EVENT_CLEAN]       = act_cleaned,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_STOPPING] = {
		[EVENT_TERMINATE]   = act_hurry,
		[EVENT_SIGNAL]      = act_forward,
		[EVENT_ENGINE_EXIT] = act_mirror,
		[EVENT_WORKER_EXIT] = act_nothing,
		[EVENT_BREACH]      = act_nothing,
		[EVENT_BUDGET]      = act_nothing,
		[EVENT_REFUSED]     = act_nothing,
		[EVENT_GPU]         = act_nothing,
		[EVENT_RESTORED]    = act_nothing,
		[EVENT_READY]       = act_nothing,
		[EVENT_FREEZE]      = act_nothing,
		[EVENT_KEEP]        = act_nothing,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_nothing,
		[EVENT_FAILED]      = act_nothing,
		[EVENT_DEADLINE]    = act_grace_over,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_LEAVING] = {
		[EVENT_TERMINATE]   = act_leave_now,
		[EVENT_SIGNAL]      = act_nothing,
		[EVENT_ENGINE_EXIT] = act_nothing,
		[EVENT_WORKER_EXIT] = act_nothing,
		[EVENT_BREACH]      = act_nothing,
		[EVENT_BUDGET]      = act_nothing,
		[EVENT_REFUSED]     = act_nothing,
		[EVENT_GPU]         = act_nothing,
		[EVENT_RESTORED]    = act_nothing,
		[EVENT_READY]       = act_nothing,
		[EVENT_FREEZE]      = act_nothing,
		[EVENT_KEEP]        = act_nothing,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_nothing,
		[EVENT_FAILED]      = act_nothing,
		[EVENT_DEADLINE]    = act_leave_now,
		[EVENT_CLEAN]       = act_left,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_KILLING] = {
		[EVENT_TERMINATE]   = act_nothing,
		[EVENT_SIGNAL]      = act_nothing,
		[EVENT_ENGINE_EXIT] = act_killed_engine,
		[EVENT_WORKER_EXIT] = act_nothing,
		[EVENT_BREACH]      = act_nothing,
		[EVENT_BUDGET]      = act_nothing,
		[EVENT_REFUSED]     = act_nothing,
		[EVENT_GPU]         = act_nothing,
		[EVENT_RESTORED]    = act_nothing,
		[EVENT_READY]       = act_nothing,
		[EVENT_FREEZE]      = act_nothing,
		[EVENT_KEEP]        = act_nothing,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_nothing,
		[EVENT_FAILED]      = act_nothing,
		[EVENT_DEADLINE]    = act_killed_all,
		[EVENT_CLEAN]       = act_killed_all,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_DRAINING] = {
		[EVENT_TERMINATE]   = act_nothing,
		[EVENT_SIGNAL]      = act_nothing,
		[EVENT_ENGINE_EXIT] = act_nothing,
		[EVENT_WORKER_EXIT] = act_nothing,
		[EVENT_BREACH]      = act_nothing,
		[EVENT_BUDGET]      = act_nothing,
		[EVENT_REFUSED]     = act_nothing,
		[EVENT_GPU]         = act_nothing,
		[EVENT_RESTORED]    = act_nothing,
		[EVENT_READY]       = act_nothing,
		[EVENT_FREEZE]      = act_nothing,
		[EVENT_KEEP]        = act_nothing,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_nothing,
		[EVENT_FAILED]      = act_nothing,
		[EVENT_DEADLINE]    = act_gone,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_gone,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
	[STATE_GONE] = {
		[EVENT_TERMINATE]   = act_nothing,
		[EVENT_SIGNAL]      = act_nothing,
		[EVENT_ENGINE_EXIT] = act_nothing,
		[EVENT_WORKER_EXIT] = act_nothing,
		[EVENT_BREACH]      = act_nothing,
		[EVENT_BUDGET]      = act_nothing,
		[EVENT_REFUSED]     = act_nothing,
		[EVENT_GPU]         = act_nothing,
		[EVENT_RESTORED]    = act_nothing,
		[EVENT_READY]       = act_nothing,
		[EVENT_FREEZE]      = act_nothing,
		[EVENT_KEEP]        = act_nothing,
		[EVENT_THAWED]      = act_nothing,
		[EVENT_DONE]        = act_nothing,
		[EVENT_FAILED]      = act_nothing,
		[EVENT_DEADLINE]    = act_nothing,
		[EVENT_CLEAN]       = act_nothing,
		[EVENT_DRAINED]     = act_nothing,
		[EVENT_SAYS_READY]  = act_nothing,
		[EVENT_ASKED_CAPTURE] = act_nothing,
	},
};

/* clang-format on */

void supervisor_init(struct supervisor *supervisor, const struct supervisor_ops *ops, void *world,
		     const struct init_options *options)
{
	*supervisor = (struct supervisor){
		.ops = ops,
		.world = world,
		.options = options,
		.started_ns = clock_now_ns(),
		.deadline_ns = DEADLINE_NEVER,
		.on_terminal = isatty(STDIN_FILENO) == 1,
		.forced_status = -1,
	};
}

static void enter(struct supervisor *supervisor, enum supervisor_state state, const char *event)
{
	if (state == supervisor->state)
		return;
	log_write(LOG_LEVEL_DEBUG, "state.entered",
		  (struct log_field[]){LOG_TEXT("from", state_names[supervisor->state]),
				       LOG_TEXT("to", state_names[state]), LOG_TEXT("by", event)},
		  3, "%s", state_names[state]);
	supervisor->state = state;
}

void supervisor_start(struct supervisor *supervisor)
{
	enter(supervisor, action_start(supervisor), "start");
}

void supervisor_handle(struct supervisor *supervisor, const struct event *event)
{
	action_fn action = table[supervisor->state][event->type];

	enter(supervisor, action(supervisor, event), event_names[event->type]);
}

int supervisor_ask_capture(struct supervisor *supervisor, struct snap_error *err)
{
	const struct init_options *options = supervisor->options;

	if (!options->snapshot)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "there is nowhere to put it: no --snapshot DIR");
	if (supervisor->state != STATE_SERVING)
		return snap_fail_plain(err, SNAP_E_NOT_READY, EBUSY,
				       "not now, snapinit is in state '%s': ask again when "
				       "snapctl state says serving",
				       supervisor_state_name(supervisor->state));
	if (!supervisor->capturable)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "the engine was not started for a capture: "
				       "--capture on-request or first-boot");
	supervisor_handle(supervisor, &(struct event){.type = EVENT_ASKED_CAPTURE});
	if (supervisor->report.outcome == CAPTURE_FAILED)
		return snap_fail_plain(err, supervisor->report.code, EIO, "%s",
				       supervisor->report.text);
	return 0;
}

static bool is_of_end(const struct supervisor *supervisor, int sig)
{
	return sig == SIGTERM || sig == SIGINT ||
	       (sig != 0 && sig == supervisor->options->stop_signal);
}

enum supervisor_event supervisor_event_of_signal(const struct supervisor *supervisor, int sig)
{
	int sent = signal_map_get(&supervisor->options->rewrite, sig);

	/* one that is dropped asks for nothing */
	if (sent != 0 && (is_of_end(supervisor, sig) || is_of_end(supervisor, sent)))
		return EVENT_TERMINATE;
	return EVENT_SIGNAL;
}

enum supervisor_event supervisor_event_of(uint32_t msg_type)
{
	switch (msg_type) {
	case WORKER_MSG_BUDGET:
		return EVENT_BUDGET;
	case WORKER_MSG_REFUSED:
		return EVENT_REFUSED;
	case WORKER_MSG_GPU:
		return EVENT_GPU;
	case WORKER_MSG_RESTORED:
		return EVENT_RESTORED;
	case WORKER_MSG_READY:
		return EVENT_READY;
	case WORKER_MSG_FREEZE:
		return EVENT_FREEZE;
	case WORKER_MSG_KEEP:
		return EVENT_KEEP;
	case WORKER_MSG_THAWED:
		return EVENT_THAWED;
	case WORKER_MSG_DONE:
		return EVENT_DONE;
	case WORKER_MSG_FAILED:
		return EVENT_FAILED;
	default:
		return EVENT_BREACH;
	}
}

int supervisor_exit_status(const struct supervisor *supervisor)
{
	int status = supervisor->engine_status;

	if (supervisor->forced_status >= 0)
		return supervisor->forced_status;
	return option_set_has(&supervisor->options->remap_exit, status) ? 0 : status;
}

const char *supervisor_code_name(enum snap_code code)
{
	return code == SNAP_OK ? "worker" : snap_code_name(code);
}

const char *supervisor_state_name(enum supervisor_state state)
{
	return (unsigned int)state < STATE_MAX_ ? state_names[state] : "unknown";
}

const char *supervisor_event_name(enum supervisor_event event)
{
	return (unsigned int)event < EVENT_MAX_ ? event_names[event] : "unknown";
}
