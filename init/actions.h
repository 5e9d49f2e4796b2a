/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_ACTIONS_H
#define SNAP_INIT_ACTIONS_H

/* The cells of the supervisor's table: each does its part and returns the next state. */

#include "init/supervisor.h"

typedef enum supervisor_state (*action_fn)(struct supervisor *s, const struct event *e);

#define ACTION(name) enum supervisor_state name(struct supervisor *s, const struct event *e)

/* any state */
ACTION(act_nothing);
ACTION(act_hold);      /* the signal waits until the engine can take it */
ACTION(act_forward);   /* the signal goes to the engine */
ACTION(act_terminate); /* … and the engine has until the end of grace */
ACTION(act_mirror);    /* the engine ended by itself: so do we, with its status */

/* wake */
ACTION(act_abort_wake);
ACTION(act_resuming_terminate);
ACTION(act_budget);
ACTION(act_wake_gpu);
ACTION(act_wake_refused);
ACTION(act_wake_failed);
ACTION(act_wake_breach); /* also: a message that makes no sense now */
ACTION(act_wake_late);
ACTION(act_wake_worker_died);
ACTION(act_wake_engine_died);
ACTION(act_restored);
ACTION(act_ready);
ACTION(act_woken_mirror);
ACTION(act_woken_terminate);
ACTION(act_frozen_terminate);
ACTION(act_wake_done);
ACTION(act_wake_worker_lost); /* the engine answers already: it stays */

/* capture */
ACTION(act_terminate_capture);
ACTION(act_says_ready);
ACTION(act_note_ready);
ACTION(act_asked_capture);
ACTION(act_watched);	/* the cold boot is over, and timed */
ACTION(act_watch_lost); /* nobody will ever know how long it took */
ACTION(act_capture_ready);
ACTION(act_freeze);
ACTION(act_keep);
ACTION(act_thawed);
ACTION(act_capture_done);
ACTION(act_capture_failed);
ACTION(act_capture_breach);
ACTION(act_capture_late);
ACTION(act_capture_worker_died);
ACTION(act_capture_engine_ended);
ACTION(act_frozen_engine_ended);
ACTION(act_frozen_failed);
ACTION(act_frozen_breach);
ACTION(act_frozen_late);
ACTION(act_frozen_worker_died);

/* the engine was ended by its capture */
ACTION(act_ended_terminate);
ACTION(act_ended_done);
ACTION(act_ended_failed);
ACTION(act_ended_breach);
ACTION(act_ended_late);
ACTION(act_ended_worker_exit);

/* mending */
ACTION(act_mend_terminate);
ACTION(act_mend_engine_ended);
ACTION(act_mended);
ACTION(act_recovered);
ACTION(act_not_recovered); /* it never runs again */
ACTION(act_mend_late);
ACTION(act_probe_terminate);
ACTION(act_unharmed);
ACTION(act_harmed);

/* GPUs are closed before the tree is killed */
ACTION(act_suspended); /* or as far as it went */
ACTION(act_suspend_terminate);
ACTION(act_suspend_signal);
ACTION(act_suspend_engine_ended);

/* the end, or another beginning */
ACTION(act_clean_terminate);
ACTION(act_cleaned);
ACTION(act_clean_late);
ACTION(act_grace_over);
ACTION(act_hurry);     /* asked to end for the second time: no grace any more */
ACTION(act_leave_now); /* what is left is killed */
ACTION(act_left);      /* nothing is left */
ACTION(act_pause_over);
ACTION(act_killed_engine);
ACTION(act_killed_all);
ACTION(act_gone);

/* the first step of all */
enum supervisor_state action_start(struct supervisor *s);

#endif