/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_SUPERVISOR_H
#define SNAP_INIT_SUPERVISOR_H

/*
 * What PID 1 does when: one table, state × event. It decides and tells; everything it does to
 * the world goes through struct supervisor_ops, so that a test can walk every cell.
 *
 *                     ┌────────── cold boot ◄───────────┐
 *   start ── WAKING ──┴─► CLEANING ─────────────────────┤
 *              │ RESTORED    ▲  ▲                       │
 *           RESUMING ────────┘  │                       │
 *              │ READY          │                       ▼
 *            WOKEN ─────────────┘      ┌────────── CAPTURING ── FREEZE ─► FROZEN ─► THAWED
 *              │ DONE                  ▼                                   │ │        │
 *              └────────────────► SERVING ◄────────────────────────────────│─┼────────┘
 *                                  │   ▲  └── PROBING ◄── MENDING ◄────────┘ │ ended on purpose
 *                                  │   │        ▲           │ journal        │
 *                                  │   │        └ RECOVERING ◄               │
 *                             TERM │   │                                   ENDED
 *                                  ▼                                         │
 *            KILLING ◄──────── STOPPING ──► LEAVING ──► DRAINING ──► GONE ◄──┘
 *               ▲                              │           ▲
 *               └──────── grace is over ◄──────┘         PAUSED ◄── start with --pause
 *
 * SUSPENDING comes before CLEANING and KILLING where a GPU's driver has restored the tree.
 *
 * docs/init.md has every cell, as tests/unit/init/test_supervisor prints it.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/init_options.h"
#include "common/worker_proto.h"
#include "init/signals.h"

enum supervisor_state {
	STATE_WAKING,	 /* a worker restores; there is no engine */
	STATE_RESUMING,	 /* the restored tree is ours and runs, but has not answered yet */
	STATE_WOKEN,	 /* the engine answers; the worker is about to say DONE */
	STATE_SERVING,	 /* an engine; no worker but one that watches its boot */
	STATE_PAUSED,	 /* --pause: neither of them, ever */
	STATE_CAPTURING, /* an engine, and a worker that waits for it and prepares */
	STATE_FROZEN,	 /* the engine's tree is stopped by the worker; its signals are held */
	STATE_THAWED,	 /* the engine runs again; the worker finishes the snapshot */
	STATE_ENDED,	 /* the engine was ended on purpose; the worker finishes the snapshot */
	STATE_MENDING,	 /* a capture went wrong in mid-freeze: its remains are killed */
	STATE_RECOVERING, /* … a worker makes the stopped tree whole again, if it was not left so */
	STATE_PROBING,	  /* … then a worker looks whether the engine still works */
	STATE_SUSPENDING, /* before one of the next states kills: a worker locks and checkpoints
			   * what a GPU's driver has restored */
	STATE_CLEANING,	  /* everything below us is killed, then a cold boot or the end */
	STATE_STOPPING,	  /* the engine was asked to end; grace runs. Without one it goes on serving
			   */
	STATE_LEAVING,	  /* the engine is gone; what it left has the rest of the grace */
	STATE_KILLING,	  /* grace is over */
	STATE_DRAINING,	  /* no engine; its last output gets out */
	STATE_GONE,	  /* exit now, with supervisor_exit_status() */
	STATE_MAX_,
};

enum supervisor_event {
	EVENT_TERMINATE, /* TERM, INT, --stop-signal, or one that is rewritten to these */
	EVENT_SIGNAL,	 /* any other signal */
	EVENT_ENGINE_EXIT,
	EVENT_WORKER_EXIT, /* of an active worker */
	EVENT_BREACH,	   /* the worker said something that is no message, or hung up */
	EVENT_BUDGET,	   /* here begin the worker's messages */
	EVENT_REFUSED,
	EVENT_GPU,
	EVENT_RESTORED,
	EVENT_READY,
	EVENT_FREEZE,
	EVENT_KEEP,
	EVENT_THAWED,
	EVENT_DONE,
	EVENT_FAILED, /* … and here they end */
	EVENT_DEADLINE,
	EVENT_CLEAN, /* nothing is left of what was to be killed */
	EVENT_DRAINED,
	EVENT_SAYS_READY,    /* the engine, on its notify descriptor or socket */
	EVENT_ASKED_CAPTURE, /* somebody, on the control socket */
	EVENT_MAX_,
};

struct event {
	enum supervisor_event type;
	int sig;		      /* TERMINATE, SIGNAL */
	int status;		      /* ENGINE_EXIT, WORKER_EXIT: as waitpid gives it */
	const struct worker_msg *msg; /* worker's messages */
};

enum supervisor_sweep {
	SWEEP_NOTHING,
	SWEEP_INTRUDERS, /* all but the engine's tree and what is older than the worker; they may
			  * end by themselves first */
	SWEEP_ALL,
	SWEEP_ASK, /* all is asked once to end, and nothing is killed */
};

#define SUPERVISOR_BOOTS UINT64_MAX

struct supervisor_ops {
	/* 0 or -errno with err; boot: also the exit status of a command that cannot be executed */
	int (*start_wake)(void *world, struct snap_error *err);
	/* how long the cold boot took: 0: not known, SUPERVISOR_BOOTS: it is not over yet */
	int (*start_capture)(void *world, uint64_t cold_boot_ms, struct snap_error *err);
	/* it says READY when the boot is over, and how long it took */
	int (*start_watch)(void *world, struct snap_error *err);
	int (*start_probe)(void *world, struct snap_error *err);
	int (*start_recover)(void *world, struct snap_error *err);
	/* everything below us that uses CUDA closes its devices, for which it has timeout_ms */
	int (*start_suspend)(void *world, uint64_t timeout_ms, struct snap_error *err);
	int (*boot)(void *world, bool to_be_captured, struct snap_error *err);

	/* 0: pid is our child, held from now on as the engine */
	int (*adopt)(void *world, pid_t pid, struct snap_error *err);
	/* the woken engine stays: it gets its input; if it answers, upstream is told */
	void (*woken)(void *world, bool answers);
	/* does anybody upstream want to hear that the engine is ready? */
	bool (*is_awaited)(void *world);
	/* the booted engine is ready: upstream is told, unless the engine has done so itself */
	void (*ready)(void *world);
	pid_t (*engine)(void *world); /* 0: none */
	void (*signal_engine)(void *world, int sig);
	/* somebody traces it, which no worker of ours does any more; 0: who, cannot be seen */
	bool (*is_traced)(void *world, pid_t *ret_tracer);
	/* the journal of the capture says that the stopped tree is not whole: it must not run */
	bool (*needs_recovery)(void *world);
	/* it is whole, or was never touched */
	void (*forget_recovery)(void *world);
	/* the descriptors that came with the message are held on to; … and are let go */
	void (*keep)(void *world);
	void (*release)(void *world);
	/* a tree that a dead worker may have left stopped runs again; never while it needs recovery
	 */
	void (*resume_tree)(void *world);

	/* 0 or -errno */
	int (*answer)(void *world, enum worker_msg_type type, uint32_t id);
	void (*kill_worker)(void *world);
	/* it is to take back what it has half made and say how that went; nothing else changes */
	void (*stop_worker)(void *world);
	/* it may take back what it has half made, but not for long */
	void (*dismiss_worker)(void *world);
	void (*retire_worker)(
		void *world); /* it may exit by itself, nothing is heard of it again */

	/* from now on each turn kills what is left, until EVENT_CLEAN; also stops doing so */
	void (*sweep)(void *world, enum supervisor_sweep what);
	/* the engine is gone: EVENT_DRAINED once its output is out */
	void (*drain)(void *world);
};

enum supervisor_origin {
	ORIGIN_NONE, /* no engine yet */
	ORIGIN_COLD,
	ORIGIN_WAKE,
};

enum capture_outcome {
	CAPTURE_NOT_TRIED,
	CAPTURE_RUNS,
	CAPTURE_MADE,
	CAPTURE_FAILED,
};

/* of the last capture, for who asks */
struct capture_report {
	enum capture_outcome outcome;
	enum snap_code code; /* FAILED; SNAP_OK where the worker itself is to blame */
	char text[sizeof(((struct worker_msg *)0)->text)]; /* MADE: generation; FAILED: why */
};

struct supervisor {
	const struct supervisor_ops *ops;
	void *world;
	const struct init_options *options;
	enum supervisor_state state;
	uint64_t started_ns; /* of this process, for wake.done */
	uint64_t ready_ns;   /* the woken engine answered */
	uint64_t booted_ns;  /* the engine that runs now was started cold */
	/*
	 * How long its cold boot took, or that of the engine it was woken from; 0: not known,
	 * SUPERVISOR_BOOTS: it lasts, as far as we know, and somebody looks
	 */
	uint64_t cold_boot_ms;
	uint64_t capture_deadline_ns;
	int told_sig; /* the last one passed to the engine */
	uint64_t
		asked_to_end_ns; /* the engine was passed a signal that asks it to; 0: it was not */
	uint64_t deadline_ns;	 /* of the state */
	bool on_terminal;	 /* INT is for the command to judge then: no grace */

	struct held_signals held;
	struct snap_error failure; /* why the cold boot comes, or the capture failed */
	bool capture_over;	   /* tried, or not wanted any more */
	bool told_ready;	   /* upstream knows of the engine that runs now */
	bool has_budget;	   /* of the wake: the worker has told it */
	bool said_ready;	   /* the engine that runs now, on its descriptor or socket */
	bool capturable;	   /* … was started such that a snapshot of it can wake */
	enum supervisor_origin origin;
	char generation[sizeof(((struct worker_msg *)0)->text)]; /* ORIGIN_WAKE: which one */
	struct capture_report report;
	/*
	 * A GPU's driver has restored the tree, or may have begun to: a wake's worker was let do
	 * it, or a capture's stopped a tree that uses one. Not killed as it is.
	 */
	bool gpu_restored;
	uint64_t device_bytes; /* of GPUs, that the engine may have; 0: none, or not known */
	enum supervisor_state after_suspend; /* SUSPENDING: CLEANING or KILLING */
	bool worker_done;		     /* ENDED: it said its last word */
	bool boot_after_clean;		     /* CLEANING: else exit */
	int engine_status;		     /* exit status of the engine that ended last */
	int forced_status;		     /* exit with this, not the engine's; -1: none */
};

void supervisor_init(struct supervisor *supervisor, const struct supervisor_ops *ops, void *world,
		     const struct init_options *options);

/* the first step: wake or boot */
void supervisor_start(struct supervisor *supervisor);

void supervisor_handle(struct supervisor *supervisor, const struct event *event);

/*
 * Capture the engine that serves, now; how that went, is in report when the state is SERVING
 * again. 0, or -errno when it was not begun.
 */
int supervisor_ask_capture(struct supervisor *supervisor, struct snap_error *err);

/* the event for a signal that we got: TERMINATE or SIGNAL */
enum supervisor_event supervisor_event_of_signal(const struct supervisor *supervisor, int sig);

/* the event for a message of the worker; EVENT_BREACH for one that only we send */
enum supervisor_event supervisor_event_of(uint32_t msg_type);

/* as records and answers have it: "worker" where that itself is to blame, which is SNAP_OK */
const char *supervisor_code_name(enum snap_code code);

/* valid in STATE_GONE */
int supervisor_exit_status(const struct supervisor *supervisor);

const char *supervisor_state_name(enum supervisor_state state);
const char *supervisor_event_name(enum supervisor_event event);

#endif
