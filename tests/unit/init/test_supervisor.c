/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table against a world that only remembers what was done to it. Every cell is entered, in
 * every mode, and a long random walk looks for two engines, an exit that leaves one behind, or a
 * state without a way out. With --print it says where each cell leads, for docs/init.md.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "init/supervisor.h"

#include "tests/lib/test.h"

enum world_worker {
	NO_WORKER,
	WAKE_WORKER,
	CAPTURE_WORKER,
	WATCH_WORKER,
	PROBE_WORKER,
	RECOVER_WORKER,
	SUSPEND_WORKER
};

struct world {
	pid_t engine; /* 0: none */
	enum world_worker worker;
	enum supervisor_sweep sweep;
	bool draining;
	bool has_input; /* woken */
	bool dirties;	/* the capture evacuates: from the freeze on the journal is full */
	bool traced;
	bool kept;	       /* what a recovery reads, by others than the worker */
	bool dirty;	       /* the tree has holes, and the journal says so */
	bool gpu_open;	       /* … was restored by a GPU's driver: not to be killed as it is */
	uint64_t cold_boot_ms; /* as the last capture was told */
	uint64_t suspend_ms;   /* … and the last suspension */
	int boots, wakes, captures, watches, probes, recovers, suspends, resumes, retired, stopped;
	int signals[65]; /* how often the engine got each */
	enum worker_msg_type answered;
	bool has_upstream;
	int readies; /* what upstream heard since the boot */
	int asked;   /* how often somebody wanted a capture while it served */
	int fail_wake, fail_capture, fail_watch, fail_probe, fail_recover, fail_suspend, fail_boot,
		fail_adopt, fail_answer;
	bool boot_to_be_captured;
};

static int start(struct world *w, enum world_worker what, int fail, int *count,
		 struct snap_error *err)
{
	if (fail)
		return snap_fail(err, SNAP_E_PREFLIGHT, 5, "cannot start");
	assert_int_equal(w->worker, NO_WORKER);
	w->worker = what;
	++*count;
	return 0;
}

static int fake_start_wake(void *world, struct snap_error *err)
{
	struct world *w = world;

	assert_int_equal(w->engine, 0);
	return start(w, WAKE_WORKER, w->fail_wake, &w->wakes, err);
}

static int fake_start_capture(void *world, uint64_t cold_boot_ms, struct snap_error *err)
{
	struct world *w = world;

	assert_true(w->engine > 0);
	w->cold_boot_ms = cold_boot_ms;
	return start(w, CAPTURE_WORKER, w->fail_capture, &w->captures, err);
}

static int fake_start_watch(void *world, struct snap_error *err)
{
	struct world *w = world;

	assert_true(w->engine > 0);
	return start(w, WATCH_WORKER, w->fail_watch, &w->watches, err);
}

static int fake_start_probe(void *world, struct snap_error *err)
{
	struct world *w = world;

	assert_true(w->engine > 0);
	assert_int_equal(w->sweep, SWEEP_NOTHING);
	return start(w, PROBE_WORKER, w->fail_probe, &w->probes, err);
}

static int fake_start_recover(void *world, struct snap_error *err)
{
	struct world *w = world;

	assert_true(w->engine > 0);
	assert_true(w->dirty);
	assert_int_equal(w->sweep, SWEEP_NOTHING);
	return start(w, RECOVER_WORKER, w->fail_recover, &w->recovers, err);
}

/* if that does not work there is no other way, and it is killed all the same */
static int fake_start_suspend(void *world, uint64_t timeout_ms, struct snap_error *err)
{
	struct world *w = world;

	w->suspend_ms = timeout_ms;
	assert_true(w->gpu_open);
	assert_false(w->dirty);
	assert_int_equal(w->sweep, SWEEP_NOTHING);
	w->gpu_open = false;
	return start(w, SUSPEND_WORKER, w->fail_suspend, &w->suspends, err);
}

static bool fake_is_awaited(void *world)
{
	return ((struct world *)world)->has_upstream;
}

static void fake_ready(void *world)
{
	struct world *w = world;

	assert_true(w->engine > 0);
	assert_int_equal(w->readies, 0); /* since the boot */
	w->readies++;
}

static bool fake_needs_recovery(void *world)
{
	return ((struct world *)world)->dirty;
}

static void fake_forget_recovery(void *world)
{
	/* nobody forgets what is still to be done */
	assert_false(((struct world *)world)->dirty);
	((struct world *)world)->kept = false;
}

static void fake_keep(void *world)
{
	((struct world *)world)->kept = true;
}

static void fake_release(void *world)
{
	struct world *w = world;

	assert_false(w->dirty);
	w->kept = false;
}

static int fake_boot(void *world, bool to_be_captured, struct snap_error *err)
{
	struct world *w = world;

	/* never two engines, never beside a sweep that would kill it */
	assert_int_equal(w->engine, 0);
	assert_int_equal(w->worker, NO_WORKER);
	assert_int_equal(w->sweep, SWEEP_NOTHING);
	assert_false(w->draining);
	if (w->fail_boot) {
		(void)snap_fail(err, SNAP_E_USAGE, 2, "cannot boot");
		return w->fail_boot;
	}
	w->boots++;
	w->readies = 0;
	w->dirty = w->kept = w->gpu_open = false; /* it was another engine's */
	w->boot_to_be_captured = to_be_captured;
	w->engine = 1000 + w->boots;
	return 0;
}

static int fake_adopt(void *world, pid_t pid, struct snap_error *err)
{
	struct world *w = world;

	assert_int_equal(w->engine, 0);
	if (w->fail_adopt)
		return snap_fail(err, SNAP_E_RESTORE, 10, "no child");
	w->engine = pid;
	return 0;
}

static void fake_woken(void *world, bool answers)
{
	(void)answers;
	((struct world *)world)->has_input = true;
}

static pid_t fake_engine(void *world)
{
	return ((struct world *)world)->engine;
}

static void fake_signal_engine(void *world, int sig)
{
	struct world *w = world;

	if (w->engine <= 0)
		return;
	assert_false(w->dirty);
	w->signals[sig]++;
}

static bool fake_is_traced(void *world, pid_t *ret_tracer)
{
	const struct world *w = world;

	*ret_tracer = 0;
	return w->traced;
}

static void fake_resume_tree(void *world)
{
	struct world *w = world;

	/* the one thing that must never happen */
	assert_false(w->dirty);
	assert_int_equal(w->worker, NO_WORKER);
	w->resumes++;
}

static int fake_answer(void *world, enum worker_msg_type type, uint32_t id)
{
	struct world *w = world;

	(void)id;
	if (w->fail_answer || w->worker == NO_WORKER)
		return -32;
	w->answered = type;
	return 0;
}

static void fake_kill_worker(void *world)
{
	((struct world *)world)->worker = NO_WORKER;
}

static void fake_stop_worker(void *world)
{
	struct world *w = world;

	assert_int_equal(w->worker, CAPTURE_WORKER);
	w->stopped++;
}

static void fake_dismiss_worker(void *world)
{
	((struct world *)world)->worker = NO_WORKER;
}

static void fake_retire_worker(void *world)
{
	struct world *w = world;

	w->retired += w->worker != NO_WORKER;
	w->worker = NO_WORKER;
}

static void fake_sweep(void *world, enum supervisor_sweep what)
{
	struct world *w = world;

	if (what == SWEEP_ALL)
		assert_true((!w->gpu_open || w->dirty) && w->worker != SUSPEND_WORKER);
	w->sweep = what;
}

static void fake_drain(void *world)
{
	((struct world *)world)->draining = true;
}

static const struct supervisor_ops fake_ops = {
	.start_wake = fake_start_wake,
	.start_capture = fake_start_capture,
	.start_watch = fake_start_watch,
	.start_probe = fake_start_probe,
	.start_recover = fake_start_recover,
	.start_suspend = fake_start_suspend,
	.is_awaited = fake_is_awaited,
	.ready = fake_ready,
	.needs_recovery = fake_needs_recovery,
	.forget_recovery = fake_forget_recovery,
	.keep = fake_keep,
	.release = fake_release,
	.boot = fake_boot,
	.adopt = fake_adopt,
	.woken = fake_woken,
	.engine = fake_engine,
	.signal_engine = fake_signal_engine,
	.is_traced = fake_is_traced,
	.resume_tree = fake_resume_tree,
	.answer = fake_answer,
	.kill_worker = fake_kill_worker,
	.stop_worker = fake_stop_worker,
	.dismiss_worker = fake_dismiss_worker,
	.retire_worker = fake_retire_worker,
	.sweep = fake_sweep,
	.drain = fake_drain,
};

#define NO_GRACE 1

struct bench {
	struct world world;
	struct init_options options;
	struct supervisor s;
};

static void begin(struct bench *b, const struct init_options *options)
{
	b->options = *options;
	if (b->options.grace_ms == 0)
		b->options.grace_ms = 8000;
	else if (b->options.grace_ms == NO_GRACE)
		b->options.grace_ms = 0;
	b->options.capture_timeout_ms = 600000;
	supervisor_init(&b->s, &fake_ops, &b->world, &b->options);
	b->s.on_terminal = false;
	supervisor_start(&b->s);
}

/* the world does what makes an event come */
static void happen_with(struct bench *b, enum supervisor_event type, uint64_t value, int status)
{
	struct worker_msg msg = {.type = WORKER_MSG_BUDGET + (type - EVENT_BUDGET),
				 .id = 9,
				 .pid = 1000,
				 .code = SNAP_E_RESTORE,
				 .value = value,
				 .text = "text"};
	struct event event = {.type = type, .status = status, .sig = SIGTERM};

	if (type >= EVENT_BUDGET && type <= EVENT_FAILED)
		event.msg = &msg;
	if (type == EVENT_SIGNAL)
		event.sig = SIGUSR1;
	if (type == EVENT_ENGINE_EXIT)
		b->world.engine = 0;
	if (type == EVENT_WORKER_EXIT)
		b->world.worker = NO_WORKER;
	if (type == EVENT_DEADLINE)
		b->s.deadline_ns = DEADLINE_NEVER;
	/* reaped before the sweep finds nothing; or killed, and given up waiting for */
	if ((type == EVENT_CLEAN || type == EVENT_DEADLINE) && b->world.sweep == SWEEP_ALL)
		b->world.engine = 0;
	if (type == EVENT_DONE && b->s.state == STATE_RECOVERING)
		b->world.dirty = false;
	/* a worker that fails has closed what it opened, unless it says otherwise */
	if (type == EVENT_FAILED && value == 0 && b->world.worker == WAKE_WORKER)
		b->world.gpu_open = false;
	b->world.asked += type == EVENT_ASKED_CAPTURE && b->s.state == STATE_SERVING;
	b->world.answered = WORKER_MSG_NONE;
	supervisor_handle(&b->s, &event);
	if (b->world.answered == WORKER_MSG_GO && (type == EVENT_GPU || value > 0))
		b->world.gpu_open = true;
	if (b->s.state == STATE_ENDED)
		b->world.gpu_open = false;
	if (type == EVENT_FREEZE && b->s.state == STATE_FROZEN)
		b->world.dirty = b->world.dirties;
}

static void happen(struct bench *b, enum supervisor_event type)
{
	happen_with(b, type, type == EVENT_BUDGET ? 5000 : 0, 0);
}

#define EXITED(n)   ((n) << 8)
#define SIGNALED(n) (n)

static void in_state(const struct bench *b, enum supervisor_state state)
{
	assert_string_equal(supervisor_state_name(b->s.state), supervisor_state_name(state));
}

static const struct init_options plain = {.snapshot = NULL};
static const struct init_options wake = {.snapshot = "/s"};
static const struct init_options first_boot = {.snapshot = "/s", .capture = CAPTURE_FIRST_BOOT};
static const struct init_options on_request = {.snapshot = "/s", .capture = CAPTURE_ON_REQUEST};
static const struct init_options capture_exit = {.snapshot = "/s", .capture = CAPTURE_EXIT};
static const struct init_options wake_or_die = {.snapshot = "/s", .fallback_none = true};
static const struct init_options wake_to_see = {.snapshot = "/s", .exit_when_ready = true};

static const struct init_options pausing = {.pause = true};

static const struct init_options *const modes[] = {&plain,	 &wake,		&first_boot,
						   &on_request,	 &capture_exit, &wake_or_die,
						   &wake_to_see, &pausing};

/* bring it into a state the shortest way; false: this mode has no such state */
static bool go_to_of(struct bench *b, const struct init_options *options,
		     enum supervisor_state state, bool dirties)
{
	static const enum supervisor_event ways[STATE_MAX_][12] = {
		[STATE_RESUMING] = {EVENT_RESTORED, EVENT_MAX_},
		[STATE_WOKEN] = {EVENT_RESTORED, EVENT_READY, EVENT_MAX_},
		[STATE_SERVING] = {EVENT_RESTORED, EVENT_READY, EVENT_DONE, EVENT_MAX_},
		[STATE_CLEANING] = {EVENT_BREACH, EVENT_MAX_},
		[STATE_CAPTURING] = {EVENT_REFUSED, EVENT_CLEAN, EVENT_MAX_},
		[STATE_FROZEN] = {EVENT_REFUSED, EVENT_CLEAN, EVENT_FREEZE, EVENT_MAX_},
		[STATE_THAWED] = {EVENT_REFUSED, EVENT_CLEAN, EVENT_FREEZE, EVENT_THAWED,
				  EVENT_MAX_},
		[STATE_ENDED] = {EVENT_REFUSED, EVENT_CLEAN, EVENT_FREEZE, EVENT_ENGINE_EXIT,
				 EVENT_MAX_},
		[STATE_MENDING] = {EVENT_REFUSED, EVENT_CLEAN, EVENT_FREEZE, EVENT_WORKER_EXIT,
				   EVENT_MAX_},
		[STATE_RECOVERING] = {EVENT_REFUSED, EVENT_CLEAN, EVENT_FREEZE, EVENT_WORKER_EXIT,
				      EVENT_CLEAN, EVENT_MAX_},
		[STATE_PROBING] = {EVENT_REFUSED, EVENT_CLEAN, EVENT_FREEZE, EVENT_WORKER_EXIT,
				   EVENT_CLEAN, EVENT_MAX_},
		[STATE_STOPPING] = {EVENT_RESTORED, EVENT_READY, EVENT_DONE, EVENT_TERMINATE,
				    EVENT_MAX_},
		[STATE_KILLING] = {EVENT_RESTORED, EVENT_READY, EVENT_DONE, EVENT_TERMINATE,
				   EVENT_DEADLINE, EVENT_MAX_},
		[STATE_LEAVING] = {EVENT_RESTORED, EVENT_READY, EVENT_DONE, EVENT_TERMINATE,
				   EVENT_ENGINE_EXIT, EVENT_MAX_},
		[STATE_DRAINING] = {EVENT_RESTORED, EVENT_READY, EVENT_DONE, EVENT_TERMINATE,
				    EVENT_ENGINE_EXIT, EVENT_CLEAN, EVENT_MAX_},
		[STATE_GONE] = {EVENT_RESTORED, EVENT_READY, EVENT_DONE, EVENT_TERMINATE,
				EVENT_ENGINE_EXIT, EVENT_CLEAN, EVENT_DRAINED, EVENT_MAX_},
		[STATE_SUSPENDING] = {EVENT_GPU, EVENT_RESTORED, EVENT_READY, EVENT_DONE,
				      EVENT_TERMINATE, EVENT_DEADLINE, EVENT_MAX_},
		[STATE_PAUSED] = {EVENT_MAX_},
		[STATE_WAKING] = {EVENT_MAX_},
	};

	static const enum supervisor_event failed_wake[] = {EVENT_GPU, EVENT_BREACH, EVENT_MAX_};

	/* a promised capture does not try to wake first */
	bool no_wake = options->capture == CAPTURE_EXIT && ways[state][0] == EVENT_REFUSED;
	/* the same state, before the other kind of killing */
	const enum supervisor_event *way =
		state == STATE_SUSPENDING && dirties ? failed_wake : ways[state];

	*b = (struct bench){.world = {.dirties = dirties}};
	begin(b, options);
	for (int i = no_wake ? 2 : 0; way[i] != EVENT_MAX_; i++)
		happen_with(b, way[i], 0, SIGNALED(9));
	return b->s.state == state;
}

static bool go_to(struct bench *b, const struct init_options *options, enum supervisor_state state)
{
	return go_to_of(b, options, state, state == STATE_RECOVERING);
}

static bool worker_is_gone_in(enum supervisor_state state)
{
	return state == STATE_SERVING || state == STATE_MENDING || state == STATE_CLEANING ||
	       state == STATE_KILLING || state == STATE_DRAINING || state == STATE_GONE ||
	       state == STATE_STOPPING || state == STATE_LEAVING || state == STATE_PAUSED;
}

static bool engine_is_there_in(enum supervisor_state state)
{
	return state == STATE_RESUMING || state == STATE_WOKEN || state == STATE_SERVING ||
	       state == STATE_CAPTURING || state == STATE_FROZEN || state == STATE_THAWED ||
	       state == STATE_MENDING || state == STATE_RECOVERING || state == STATE_PROBING ||
	       state == STATE_STOPPING;
}

/* true whatever happened before */
static void check_invariants(const struct bench *b)
{
	enum supervisor_state state = b->s.state;
	const struct world *w = &b->world;

	assert_true(state < STATE_MAX_);
	if (worker_is_gone_in(state) && !(state == STATE_SERVING && w->worker == WATCH_WORKER))
		assert_int_equal(w->worker, NO_WORKER);
	if (engine_is_there_in(state))
		assert_true(w->engine > 0);
	if (state == STATE_DRAINING || state == STATE_GONE)
		assert_true(w->draining);
	if (state == STATE_SERVING || state == STATE_THAWED || state == STATE_PROBING)
		assert_false(w->kept);
	if (state == STATE_RECOVERING)
		assert_true(w->dirty && w->worker == RECOVER_WORKER);
	assert_true((state == STATE_SUSPENDING) == (w->worker == SUSPEND_WORKER));
	if (state == STATE_SERVING || state == STATE_STOPPING || state == STATE_THAWED ||
	    state == STATE_PROBING)
		assert_false(w->dirty);
	/* whoever waits for something that may never come has a deadline */
	if (state != STATE_SERVING && state != STATE_PAUSED && state != STATE_GONE)
		assert_true(b->s.deadline_ns != DEADLINE_NEVER);
	if (state == STATE_CLEANING || state == STATE_KILLING)
		assert_int_equal(w->sweep, SWEEP_ALL);
	else if (state == STATE_MENDING)
		assert_int_equal(w->sweep, SWEEP_INTRUDERS);
	else if (state == STATE_LEAVING)
		assert_int_equal(w->sweep, SWEEP_ASK);
	else
		assert_int_equal(w->sweep, SWEEP_NOTHING);
	if (state == STATE_SERVING)
		assert_true(b->s.held.bits == 0);
	/* who was asked to end is on the way, if anybody sees to that */
	if (state == STATE_SERVING && b->options.grace_ms > 0)
		assert_int_equal(w->signals[SIGTERM], 0);
	if (state == STATE_GONE)
		assert_in_range(supervisor_exit_status(&b->s), 0, 255);
	/* nothing is tried again unless somebody asks for it */
	assert_true(w->boots <= 2 + w->asked && w->captures <= 1 + w->asked && w->wakes <= 1 &&
		    w->probes <= 1 + w->asked && w->recovers <= 1 + w->asked &&
		    w->suspends <= 2 + w->asked);
}

static bool can_happen(const struct bench *b, enum supervisor_event event)
{
	if (event == EVENT_ENGINE_EXIT)
		return b->world.engine > 0;
	if (event == EVENT_WORKER_EXIT || (event >= EVENT_BREACH && event <= EVENT_FAILED))
		return b->world.worker != NO_WORKER;
	if (event == EVENT_DEADLINE)
		return b->s.deadline_ns != DEADLINE_NEVER;
	if (event == EVENT_CLEAN)
		return b->world.sweep != SWEEP_NOTHING;
	if (event == EVENT_DRAINED)
		return b->world.draining;
	return true;
}

/* what can make a cell lead somewhere else */
enum twist {
	TWIST_NONE,
	TWIST_HELD_TERM,
	TWIST_NO_GRACE,
	TWIST_FAILING_ANSWER,
	TWIST_FAILING_ADOPT,
	TWIST_FAILING_CAPTURE,
	TWIST_FAILING_PROBE,
	TWIST_FAILING_RECOVER,
	TWIST_FAILING_BOOT,
	TWIST_TRACED,
	TWIST_GPU,
	TWIST_FAILING_SUSPEND,
	TWIST_MAX_,
};

#define VARIANTS 16 /* value of the message, status of the exit, a dirty tree */

/* states with a tree that a driver may have restored; those that kill have done with it */
static bool may_have_gpu_in(enum supervisor_state state)
{
	return engine_is_there_in(state) || state == STATE_WAKING || state == STATE_LEAVING;
}

static bool enter_cell(struct bench *b, const struct init_options *mode,
		       enum supervisor_state state, unsigned int variant, enum twist twist)
{
	struct init_options options = *mode;
	struct world *w = &b->world;

	if (twist == TWIST_NO_GRACE)
		options.grace_ms = NO_GRACE;
	if (!go_to_of(b, &options, state, variant >= VARIANTS / 2))
		return false;
	w->fail_answer = twist == TWIST_FAILING_ANSWER;
	w->fail_adopt = twist == TWIST_FAILING_ADOPT;
	w->fail_capture = twist == TWIST_FAILING_CAPTURE;
	w->fail_probe = twist == TWIST_FAILING_PROBE;
	w->fail_recover = twist == TWIST_FAILING_RECOVER;
	w->traced = twist == TWIST_TRACED;
	w->fail_boot = twist == TWIST_FAILING_BOOT ? 127 : 0;
	if (twist == TWIST_GPU || twist == TWIST_FAILING_SUSPEND) {
		if (!options.snapshot || !may_have_gpu_in(state))
			return false;
		b->s.gpu_restored = w->gpu_open = true;
		w->fail_suspend = twist == TWIST_FAILING_SUSPEND;
	}
	if (twist == TWIST_HELD_TERM) {
		if (state != STATE_FROZEN && state != STATE_MENDING && state != STATE_RECOVERING)
			return false;
		held_signals_add(&b->s.held, SIGTERM);
	}
	return true;
}

/* all ways through one cell: is it entered at all, and which states are next */
static bool walk_cell(enum supervisor_state state, enum supervisor_event event,
		      bool next[STATE_MAX_])
{
	static const int statuses[] = {EXITED(0), EXITED(3), SIGNALED(9), SIGNALED(11)};
	bool entered = false;

	for (unsigned int i = 0; i < ARRAY_LEN(modes) * TWIST_MAX_ * VARIANTS; i++) {
		unsigned int variant = i % VARIANTS;
		struct bench b;

		if (!enter_cell(&b, modes[i / VARIANTS / TWIST_MAX_], state, variant,
				(enum twist)(i / VARIANTS % TWIST_MAX_)))
			continue;
		entered = true;
		if (!can_happen(&b, event))
			continue;
		happen_with(&b, event, variant & 1, statuses[variant / 2 % 4]);
		check_invariants(&b);
		next[b.s.state] = true;
	}
	return entered;
}

static void test_every_cell_leads_somewhere_sound(void **state)
{
	(void)state;
	for (int st = 0; st < STATE_MAX_; st++) {
		for (int ev = 0; ev < EVENT_MAX_; ev++) {
			bool next[STATE_MAX_] = {false};

			assert_true(walk_cell((enum supervisor_state)st, (enum supervisor_event)ev,
					      next));
		}
	}
}

static void print_edge(int from, int to, const bool events[EVENT_MAX_])
{
	const char *between = "";

	printf("    %s --> %s: ", supervisor_state_name((enum supervisor_state)from),
	       supervisor_state_name((enum supervisor_state)to));
	for (int ev = 0; ev < EVENT_MAX_; ev++) {
		if (!events[ev])
			continue;
		printf("%s%s", between, supervisor_event_name((enum supervisor_event)ev));
		between = ", ";
	}
	printf("\n");
}

/* a message that makes no sense here leads wherever BREACH does, and is not told again */
static bool is_told(bool next[EVENT_MAX_][STATE_MAX_], int ev)
{
	return ev < EVENT_BUDGET || ev > EVENT_FAILED ||
	       memcmp(next[ev], next[EVENT_BREACH], sizeof(next[ev])) != 0;
}

/* as a state diagram: what changes no state is left out */
static void print_picture(void)
{
	printf("```mermaid\nstateDiagram-v2\n");
	printf("    [*] --> waking: --snapshot\n    [*] --> serving: booted\n");
	printf("    [*] --> capturing: booted, --capture exit\n    [*] --> paused: --pause\n");
	for (int st = 0; st < STATE_MAX_; st++) {
		bool next[EVENT_MAX_][STATE_MAX_] = {{false}};

		for (int ev = 0; ev < EVENT_MAX_; ev++)
			(void)walk_cell((enum supervisor_state)st, (enum supervisor_event)ev,
					next[ev]);
		for (int to = 0; to < STATE_MAX_; to++) {
			bool by[EVENT_MAX_] = {false}, any = false;

			for (int ev = 0; ev < EVENT_MAX_; ev++) {
				by[ev] = next[ev][to] && is_told(next, ev);
				any = any || by[ev];
			}
			if (any && to != st)
				print_edge(st, to, by);
		}
	}
	printf("    gone --> [*]\n```\n");
}

static void test_events_that_come_too_late_change_nothing(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < ARRAY_LEN(modes); m++) {
		for (int ev = 0; ev < EVENT_MAX_; ev++) {
			struct bench b;

			if (!go_to(&b, modes[m], STATE_GONE))
				continue;
			happen(&b, (enum supervisor_event)ev);
			in_state(&b, STATE_GONE);
		}
	}
}

/* deterministic, so that a failure comes again */
static unsigned int next_random(unsigned int *seed)
{
	*seed = *seed * 1103515245U + 12345U;
	return *seed >> 16;
}

static void test_random_walks_end_with_one_engine_at_most(void **state)
{
	static const int statuses[] = {EXITED(0), EXITED(3), SIGNALED(9), SIGNALED(11)};
	unsigned int seed = 1;

	(void)state;
	for (int walk = 0; walk < 20000; walk++) {
		struct bench b = {.world = {.engine = 0}};
		int steps = 0;

		b.world.fail_wake = next_random(&seed) % 16 == 0;
		b.world.fail_capture = next_random(&seed) % 16 == 0;
		b.world.fail_watch = next_random(&seed) % 16 == 0;
		b.world.fail_probe = next_random(&seed) % 16 == 0;
		b.world.fail_recover = next_random(&seed) % 16 == 0;
		b.world.fail_suspend = next_random(&seed) % 16 == 0;
		b.world.dirties = next_random(&seed) % 2 == 0;
		b.world.has_upstream = next_random(&seed) % 2 == 0;
		b.world.fail_boot = next_random(&seed) % 16 == 0 ? 127 : 0;
		b.world.fail_adopt = next_random(&seed) % 16 == 0;
		b.world.fail_answer = next_random(&seed) % 16 == 0;
		begin(&b, modes[next_random(&seed) % ARRAY_LEN(modes)]);
		check_invariants(&b);
		while (b.s.state != STATE_GONE && steps < 400) {
			enum supervisor_event ev =
				(enum supervisor_event)(next_random(&seed) % EVENT_MAX_);

			/* deaths and signals are rare, else nothing ever gets far */
			if (ev <= EVENT_BREACH && next_random(&seed) % 4 != 0)
				continue;
			if (!can_happen(&b, ev))
				continue;
			happen_with(&b, ev, next_random(&seed) % 2,
				    statuses[next_random(&seed) % 4]);
			check_invariants(&b);
			steps++;
		}
		/* SERVING and PAUSED are the only states that may last */
		assert_true(b.s.state == STATE_GONE || steps == 400);
	}
}

/* from everywhere, when nothing comes any more but deadlines, it serves or ends */
static void test_deadlines_alone_lead_out_of_every_state(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < ARRAY_LEN(modes); m++) {
		for (int st = 0; st < STATE_MAX_; st++) {
			struct bench b;

			if (!go_to(&b, modes[m], (enum supervisor_state)st))
				continue;
			for (int i = 0; i < 10 && b.s.deadline_ns != DEADLINE_NEVER; i++)
				happen(&b, EVENT_DEADLINE);
			assert_true(b.s.state == STATE_SERVING || b.s.state == STATE_PAUSED ||
				    b.s.state == STATE_GONE);
		}
	}
}

static void test_plain_mode_mirrors_the_child(void **state)
{
	struct bench b = {.world = {.engine = 0}};

	(void)state;
	begin(&b, &plain);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.wakes, 0);
	happen(&b, EVENT_SIGNAL);
	assert_int_equal(b.world.signals[SIGUSR1], 1);
	happen_with(&b, EVENT_ENGINE_EXIT, 0, EXITED(42));
	in_state(&b, STATE_LEAVING);
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_DRAINING);
	happen(&b, EVENT_DRAINED);
	in_state(&b, STATE_GONE);
	assert_int_equal(supervisor_exit_status(&b.s), 42);
}

static void test_upstream_hears_once_that_a_booted_engine_is_ready(void **state)
{
	struct bench b = {.world = {.has_upstream = true}};

	(void)state;
	begin(&b, &wake);
	happen(&b, EVENT_REFUSED);
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.worker, WATCH_WORKER);
	assert_int_equal(b.world.readies, 0);
	happen(&b, EVENT_READY);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.worker, NO_WORKER);
	assert_int_equal(b.world.readies, 1);
	happen(&b, EVENT_ASKED_CAPTURE);
	happen(&b, EVENT_READY);
	assert_int_equal(b.world.readies, 1);
}

static void test_capture_tells_that_its_engine_is_ready(void **state)
{
	struct bench b = {.world = {.has_upstream = true}};

	(void)state;
	begin(&b, &first_boot);
	happen(&b, EVENT_REFUSED);
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_CAPTURING);
	happen(&b, EVENT_READY);
	in_state(&b, STATE_CAPTURING);
	assert_int_equal(b.world.readies, 1);
	happen(&b, EVENT_FAILED);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.watches, 0);
}

static void test_capture_that_fails_before_leaves_somebody_to_wait(void **state)
{
	struct bench b = {.world = {.has_upstream = true}};

	(void)state;
	begin(&b, &first_boot);
	happen(&b, EVENT_REFUSED);
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_FAILED);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.worker, WATCH_WORKER);
	happen(&b, EVENT_FAILED);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.worker, NO_WORKER);
	assert_int_equal(b.world.readies, 0);
}

static void test_nobody_waits_where_nobody_wants_to_know(void **state)
{
	struct bench b = {.world = {.has_upstream = false}};
	struct init_options notifies = wake;

	(void)state;
	begin(&b, &wake);
	happen(&b, EVENT_REFUSED);
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.watches, 0);

	notifies.ready_kind = READY_NOTIFY;
	b = (struct bench){.world = {.has_upstream = true}};
	begin(&b, &notifies);
	happen(&b, EVENT_REFUSED);
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.watches, 0);
	happen(&b, EVENT_SAYS_READY);
	assert_int_equal(b.world.readies, 1);
}

static void test_command_that_cannot_run_has_its_exit_status(void **state)
{
	static const int wanted[][2] = {{126, 126}, {127, 127}, {-12, 125}};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(wanted); i++) {
		struct bench b = {.world = {.fail_boot = wanted[i][0]}};

		begin(&b, &plain);
		happen(&b, EVENT_DRAINED);
		assert_int_equal(supervisor_exit_status(&b.s), wanted[i][1]);
	}
}

static void test_interrupt_on_a_terminal_starts_no_grace(void **state)
{
	struct bench b = {.world = {.engine = 0}};
	const struct event interrupt = {.type = EVENT_TERMINATE, .sig = SIGINT};

	(void)state;
	begin(&b, &plain);
	b.s.on_terminal = true;
	supervisor_handle(&b.s, &interrupt);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.signals[SIGINT], 1);
	b.s.on_terminal = false;
	supervisor_handle(&b.s, &interrupt);
	in_state(&b, STATE_STOPPING);
	happen(&b, EVENT_DEADLINE);
	in_state(&b, STATE_KILLING);
	happen_with(&b, EVENT_ENGINE_EXIT, 0, SIGNALED(9));
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_DRAINED);
	assert_int_equal(supervisor_exit_status(&b.s), 137);
}

static void test_budget_moves_the_deadline_unless_the_user_set_one(void **state)
{
	struct init_options fixed = {.snapshot = "/s", .wake_timeout_ms = 30000};
	struct bench b = {.world = {.engine = 0}};

	(void)state;
	begin(&b, &wake);
	assert_in_range(deadline_left_ms(b.s.deadline_ns), 4000, 5000);
	happen(&b, EVENT_BUDGET);
	assert_in_range(deadline_left_ms(b.s.deadline_ns), 4000, 5000);
	b = (struct bench){.world = {.engine = 0}};
	begin(&b, &fixed);
	happen(&b, EVENT_BUDGET);
	assert_in_range(deadline_left_ms(b.s.deadline_ns), 29000, 30000);
}

static void test_wake_that_works_serves_and_asks_nobody_again(void **state)
{
	struct bench b = {.world = {.engine = 0}};

	(void)state;
	begin(&b, &first_boot);
	happen(&b, EVENT_SIGNAL);
	assert_int_equal(b.world.signals[SIGUSR1], 0);
	happen(&b, EVENT_RESTORED);
	assert_int_equal(b.world.answered, WORKER_MSG_RESUME);
	assert_int_equal(b.world.signals[SIGUSR1], 1);
	assert_false(b.world.has_input);
	happen(&b, EVENT_READY);
	assert_true(b.world.has_input);
	happen(&b, EVENT_DONE);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.retired, 1);
	assert_int_equal(b.world.captures, 0);
	assert_int_equal(b.world.boots, 0);
}

/* how the suspension ends is no matter: it is bounded, and then comes what was to come */
static void test_restored_gpu_is_closed_before_grace_kills(void **state)
{
	static const enum supervisor_event ends[] = {EVENT_DONE, EVENT_FAILED, EVENT_WORKER_EXIT,
						     EVENT_BREACH, EVENT_DEADLINE};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(ends); i++) {
		struct bench b;

		/* the second TERM is the one that kills */
		assert_true(go_to(&b, &wake, STATE_STOPPING));
		b.s.gpu_restored = b.world.gpu_open = true;
		happen(&b, EVENT_TERMINATE);
		in_state(&b, STATE_SUSPENDING);
		assert_int_equal(b.world.sweep, SWEEP_NOTHING);
		assert_in_range(deadline_left_ms(b.s.deadline_ns), 11000, 12000);
		happen(&b, EVENT_TERMINATE);
		happen(&b, EVENT_SIGNAL);
		in_state(&b, STATE_SUSPENDING);
		happen(&b, ends[i]);
		in_state(&b, STATE_KILLING);
		assert_int_equal(b.world.sweep, SWEEP_ALL);
		assert_int_equal(b.world.worker, NO_WORKER);
		happen(&b, EVENT_CLEAN);
		happen(&b, EVENT_DRAINED);
		assert_int_equal(supervisor_exit_status(&b.s), 137);
		assert_int_equal(b.world.suspends, 1);
	}
}

/* before its wake is followed by a cold boot, whatever the worker came to after it said GPU */
static void test_restored_gpu_is_closed_before_the_cold_boot(void **state)
{
	static const enum supervisor_event ends[] = {EVENT_WORKER_EXIT, EVENT_BREACH,
						     EVENT_DEADLINE};

	(void)state;
	for (unsigned int i = 0; i < 2 * ARRAY_LEN(ends); i++) {
		struct bench b = {.world = {.engine = 0}};

		begin(&b, &wake);
		happen(&b, EVENT_GPU);
		assert_int_equal(b.world.answered, WORKER_MSG_GO);
		if (i % 2)
			happen(&b, EVENT_RESTORED);
		happen(&b, ends[i / 2]);
		in_state(&b, STATE_SUSPENDING);
		happen(&b, EVENT_SIGNAL);
		happen(&b, EVENT_DONE);
		in_state(&b, STATE_CLEANING);
		happen(&b, EVENT_CLEAN);
		in_state(&b, STATE_SERVING);
		assert_int_equal(b.world.signals[SIGUSR1], 1);
		assert_int_equal(b.world.suspends, 1);
		/* it boots cold: its end is any engine's */
		happen(&b, EVENT_TERMINATE);
		happen(&b, EVENT_DEADLINE);
		in_state(&b, STATE_KILLING);
	}
}

#define GIB ((uint64_t)1 << 30)

static const struct device_time {
	uint64_t bytes, copy_ms;
} device_times[] = {{0, 0}, {1, 0}, {80 * GIB, 160000}, {1000 * GIB, 300000}};

/* those that a driver copies slowly, and no longer than anybody would wait */
static void test_woken_device_memory_gives_its_suspension_time(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(device_times); i++) {
		const struct device_time *time = &device_times[i];
		struct bench b = {.world = {.engine = 0}};

		begin(&b, &wake);
		happen_with(&b, EVENT_GPU, time->bytes, 0);
		happen(&b, EVENT_WORKER_EXIT);
		in_state(&b, STATE_SUSPENDING);
		assert_int_equal(b.world.suspend_ms, 10000 + time->copy_ms);
		assert_in_range(deadline_left_ms(b.s.deadline_ns), 11000 + time->copy_ms,
				12000 + time->copy_ms);
		/* it boots cold: its device memory is nobody's any more */
		happen(&b, EVENT_DONE);
		happen(&b, EVENT_CLEAN);
		assert_int_equal(b.s.device_bytes, 0);
	}
}

static void test_captured_device_memory_gives_time(void **state)
{
	(void)state;
	for (unsigned int i = 1; i < ARRAY_LEN(device_times); i++) {
		const struct device_time *time = &device_times[i];
		struct bench b;

		assert_true(go_to(&b, &first_boot, STATE_CAPTURING));
		b.s.deadline_ns = DEADLINE_NEVER;
		happen_with(&b, EVENT_FREEZE, time->bytes, 0);
		in_state(&b, STATE_FROZEN);
		assert_in_range(deadline_left_ms(b.s.deadline_ns), 129000 + 2 * time->copy_ms,
				130000 + 2 * time->copy_ms);
		b.world.dirty = true;
		happen(&b, EVENT_WORKER_EXIT);
		happen(&b, EVENT_CLEAN);
		in_state(&b, STATE_RECOVERING);
		assert_in_range(deadline_left_ms(b.s.deadline_ns), 59000 + 2 * time->copy_ms,
				60000 + 2 * time->copy_ms);
		happen(&b, EVENT_DONE);
		happen(&b, EVENT_DONE);
		in_state(&b, STATE_SERVING);
		happen(&b, EVENT_TERMINATE);
		happen(&b, EVENT_DEADLINE);
		in_state(&b, STATE_SUSPENDING);
		assert_int_equal(b.world.suspend_ms, 10000 + time->copy_ms);
	}
}

static void test_no_gpu_no_suspension(void **state)
{
	struct bench b = {.world = {.engine = 0}};

	(void)state;
	assert_true(go_to(&b, &wake, STATE_KILLING));
	assert_int_equal(b.world.suspends, 0);
	/* it had one, and has closed it before it said so */
	b.world = (struct world){.engine = 0};
	begin(&b, &wake);
	happen(&b, EVENT_GPU);
	happen(&b, EVENT_FAILED);
	in_state(&b, STATE_CLEANING);
	/* … or could not */
	b.world = (struct world){.engine = 0};
	begin(&b, &wake);
	happen(&b, EVENT_GPU);
	happen_with(&b, EVENT_FAILED, 1, 0);
	in_state(&b, STATE_SUSPENDING);
	/* a container that is to end meanwhile does not boot again */
	happen(&b, EVENT_TERMINATE);
	happen(&b, EVENT_DONE);
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_DRAINING);
	assert_int_equal(b.world.boots, 0);
	happen(&b, EVENT_DRAINED);
	assert_int_equal(supervisor_exit_status(&b.s), 128 + SIGTERM);
}

/* the driver restores an engine that is captured, too */
static void test_captured_gpu_is_closed_before_grace_kills(void **state)
{
	(void)state;
	for (unsigned int uses_gpu = 0; uses_gpu < 2; uses_gpu++) {
		struct bench b;

		assert_true(go_to(&b, &first_boot, STATE_CAPTURING));
		happen_with(&b, EVENT_FREEZE, uses_gpu, 0);
		happen(&b, EVENT_THAWED);
		happen(&b, EVENT_DONE);
		in_state(&b, STATE_SERVING);
		happen(&b, EVENT_TERMINATE);
		happen(&b, EVENT_DEADLINE);
		in_state(&b, uses_gpu ? STATE_SUSPENDING : STATE_KILLING);
	}
}

static void test_failed_wake_has_the_exit_status_of_its_reason(void **state)
{
	(void)state;
	for (unsigned int m = 0; m < 2; m++) {
		struct bench b = {.world = {.engine = 0}};

		begin(&b, m == 0 ? &wake_or_die : &wake_to_see);
		happen(&b, EVENT_FAILED);
		in_state(&b, STATE_CLEANING);
		happen(&b, EVENT_CLEAN);
		happen(&b, EVENT_DRAINED);
		assert_int_equal(supervisor_exit_status(&b.s),
				 m == 0 ? 222 : snap_code_exit_status(SNAP_E_RESTORE));
		assert_int_equal(b.world.boots, 0);
	}
}

static void test_signals_wait_for_the_thaw(void **state)
{
	struct bench b;

	(void)state;
	assert_true(go_to(&b, &first_boot, STATE_FROZEN));
	assert_true(b.world.boot_to_be_captured);
	assert_int_equal(b.world.answered, WORKER_MSG_GO);
	happen(&b, EVENT_SIGNAL);
	happen(&b, EVENT_SIGNAL);
	assert_int_equal(b.world.signals[SIGUSR1], 0);
	happen(&b, EVENT_THAWED);
	in_state(&b, STATE_THAWED);
	assert_int_equal(b.world.signals[SIGUSR1], 1);

	assert_true(go_to(&b, &first_boot, STATE_FROZEN));
	happen(&b, EVENT_TERMINATE);
	assert_int_equal(b.world.signals[SIGTERM], 0);
	happen(&b, EVENT_THAWED);
	in_state(&b, STATE_STOPPING);
	assert_int_equal(b.world.signals[SIGTERM], 1);
}

static void test_harmed_engine_is_booted_once_more_without_a_capture(void **state)
{
	struct bench b;

	(void)state;
	assert_true(go_to(&b, &first_boot, STATE_PROBING));
	assert_int_equal(b.world.resumes, 1);
	happen(&b, EVENT_FAILED);
	in_state(&b, STATE_CLEANING);
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.boots, 2);
	assert_int_equal(b.world.captures, 1);
	assert_true(b.world.boot_to_be_captured); /* one may still be asked for */
}

static void test_engine_that_somebody_traces_is_not_taken_for_harmed(void **state)
{
	static const enum supervisor_event ways_out[] = {EVENT_FAILED, EVENT_DEADLINE,
							 EVENT_WORKER_EXIT};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(ways_out); i++) {
		struct bench b;

		assert_true(go_to(&b, &first_boot, STATE_PROBING));
		b.world.traced = true;
		happen(&b, ways_out[i]);
		in_state(&b, STATE_SERVING);
		assert_int_equal(b.world.boots, 1);
		assert_int_equal(b.world.worker, NO_WORKER);
	}
}

static void test_tree_with_holes_runs_only_after_its_recovery(void **state)
{
	static const enum supervisor_event ways_out[] = {EVENT_WORKER_EXIT, EVENT_BREACH,
							 EVENT_FAILED,	    EVENT_DEADLINE,
							 EVENT_THAWED,	    EVENT_DONE};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(ways_out); i++) {
		struct bench b;

		assert_true(go_to_of(&b, &first_boot, STATE_FROZEN, true));
		happen(&b, EVENT_SIGNAL);
		happen_with(&b, ways_out[i], 0, SIGNALED(9));
		in_state(&b, STATE_MENDING);
		happen(&b, EVENT_CLEAN);
		in_state(&b, STATE_RECOVERING);
		assert_in_range(deadline_left_ms(b.s.deadline_ns), 59000, 60000);
		assert_int_equal(b.world.resumes + b.world.signals[SIGUSR1], 0);
		happen(&b, EVENT_DONE);
		in_state(&b, STATE_PROBING);
		assert_int_equal(b.world.resumes, 1);
		happen(&b, EVENT_DONE);
		in_state(&b, STATE_SERVING);
		assert_int_equal(b.world.boots, 1);
		assert_int_equal(b.world.signals[SIGUSR1], 1);
	}
}

static void test_what_a_recovery_reads_is_kept_until_the_tree_is_whole(void **state)
{
	struct bench b;

	(void)state;
	assert_true(go_to_of(&b, &first_boot, STATE_FROZEN, true));
	happen(&b, EVENT_KEEP);
	in_state(&b, STATE_FROZEN);
	assert_true(b.world.kept);
	assert_int_equal(b.world.answered, WORKER_MSG_KEPT);
	happen_with(&b, EVENT_WORKER_EXIT, 0, SIGNALED(9));
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_RECOVERING);
	assert_true(b.world.kept);
	happen(&b, EVENT_DONE);
	assert_false(b.world.kept);

	/* a worker that takes it back itself: others may remove the generation again */
	assert_true(go_to_of(&b, &first_boot, STATE_FROZEN, false));
	happen(&b, EVENT_KEEP);
	happen(&b, EVENT_THAWED);
	in_state(&b, STATE_THAWED);
	assert_false(b.world.kept);
}

static void test_tree_that_stays_with_holes_never_runs_again(void **state)
{
	static const enum supervisor_event ways_out[] = {
		EVENT_WORKER_EXIT, EVENT_BREACH,   EVENT_BUDGET, EVENT_REFUSED,
		EVENT_RESTORED,	   EVENT_READY,	   EVENT_FREEZE, EVENT_THAWED,
		EVENT_FAILED,	   EVENT_DEADLINE, EVENT_MAX_ /* no recovery at all */};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(ways_out); i++) {
		struct bench b;

		if (ways_out[i] == EVENT_MAX_) {
			assert_true(go_to_of(&b, &first_boot, STATE_MENDING, true));
			b.world.fail_recover = 1;
			happen(&b, EVENT_CLEAN);
		} else {
			assert_true(go_to(&b, &first_boot, STATE_RECOVERING));
			happen_with(&b, ways_out[i], 0, SIGNALED(9));
		}
		in_state(&b, STATE_CLEANING);
		happen(&b, EVENT_CLEAN);
		in_state(&b, STATE_SERVING);
		assert_int_equal(b.world.boots, 2);
		assert_int_equal(b.world.resumes, 0);
		assert_int_equal(b.world.captures, 1);
	}
}

static void test_wish_to_end_waits_for_the_recovery(void **state)
{
	struct bench b;

	(void)state;
	/* the worker is asked to take everything back; it is killed instead */
	assert_true(go_to_of(&b, &first_boot, STATE_FROZEN, true));
	happen(&b, EVENT_TERMINATE);
	assert_int_equal(b.world.stopped, 1);
	assert_in_range(deadline_left_ms(b.s.deadline_ns), 3000, 4000);
	happen_with(&b, EVENT_WORKER_EXIT, 0, SIGNALED(9));
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_RECOVERING);
	assert_int_equal(b.world.signals[SIGTERM], 0);
	happen(&b, EVENT_DONE);
	in_state(&b, STATE_STOPPING);
	assert_int_equal(b.world.signals[SIGTERM], 1);
	assert_int_equal(b.world.probes, 0);

	/* and without one nobody is left to be asked */
	assert_true(go_to(&b, &first_boot, STATE_RECOVERING));
	happen(&b, EVENT_TERMINATE);
	happen(&b, EVENT_FAILED);
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_DRAINED);
	in_state(&b, STATE_GONE);
	assert_int_equal(supervisor_exit_status(&b.s), 143);
	assert_int_equal(b.world.boots, 1);
}

static void test_capture_that_a_wish_cuts_short_is_told_as_that(void **state)
{
	struct bench b;

	(void)state;
	assert_true(go_to_of(&b, &first_boot, STATE_FROZEN, true));
	happen(&b, EVENT_TERMINATE);
	happen(&b, EVENT_DEADLINE);
	in_state(&b, STATE_MENDING);
	assert_int_equal(b.s.report.outcome, CAPTURE_FAILED);
	assert_int_equal(b.s.report.code, SNAP_E_STOPPED);
	assert_non_null(strstr(b.s.report.text, "asked to end first (TERM)"));

	/* and one that is late by itself as this */
	assert_true(go_to_of(&b, &first_boot, STATE_FROZEN, true));
	happen(&b, EVENT_DEADLINE);
	assert_int_equal(b.s.report.code, SNAP_E_DUMP);
	assert_non_null(strstr(b.s.report.text, "longer than it may"));
}

static void test_wish_to_end_forbids_the_second_boot(void **state)
{
	struct bench b;

	(void)state;
	assert_true(go_to(&b, &first_boot, STATE_MENDING));
	happen(&b, EVENT_TERMINATE);
	happen_with(&b, EVENT_ENGINE_EXIT, 0, SIGNALED(11));
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_DRAINED);
	in_state(&b, STATE_GONE);
	assert_int_equal(supervisor_exit_status(&b.s), 143);
	assert_int_equal(b.world.boots, 1);
}

static void test_capture_is_made_when_asked_for(void **state)
{
	struct snap_error err;
	struct bench b;

	(void)state;
	assert_true(go_to(&b, &on_request, STATE_CLEANING));
	assert_int_equal(supervisor_ask_capture(&b.s, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "cleaning"));
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_SERVING);
	assert_true(b.world.boot_to_be_captured);
	assert_int_equal(b.world.captures, 0);
	happen(&b, EVENT_SAYS_READY);

	for (int i = 1; i <= 2; i++) {
		b.world.answered = 0;
		assert_int_equal(supervisor_ask_capture(&b.s, &err), 0);
		in_state(&b, STATE_CAPTURING);
		assert_int_equal(b.s.report.outcome, CAPTURE_RUNS);
		/* it said so before the worker was there */
		assert_int_equal(b.world.answered, WORKER_MSG_ENGINE_SAYS_READY);
		assert_int_equal(supervisor_ask_capture(&b.s, &err), -EBUSY);
		happen(&b, EVENT_FREEZE);
		happen(&b, EVENT_THAWED);
		happen(&b, i == 1 ? EVENT_FAILED : EVENT_DONE);
		in_state(&b, STATE_SERVING);
		assert_int_equal(b.s.report.outcome, i == 1 ? CAPTURE_FAILED : CAPTURE_MADE);
		assert_string_equal(b.s.report.text, "text");
	}
	assert_int_equal(b.world.captures, 2);
	assert_int_equal(b.world.boots, 1);
	b.world.fail_capture = 1;
	assert_int_equal(supervisor_ask_capture(&b.s, &err), -EIO);
	in_state(&b, STATE_SERVING);
}

/* of an engine that was booted cold, and serves */
static void boot_on_request(struct bench *b, enum ready_kind kind)
{
	struct init_options options = on_request;

	options.ready_kind = kind;
	assert_true(go_to(b, &options, STATE_CLEANING));
	happen(b, EVENT_CLEAN);
	in_state(b, STATE_SERVING);
}

static void test_cold_boot_is_timed_when_it_happens(void **state)
{
	static const enum supervisor_event losses[] = {EVENT_WORKER_EXIT, EVENT_FAILED,
						       EVENT_BREACH, EVENT_DONE};
	struct bench b;

	(void)state;
	boot_on_request(&b, READY_BY_WORKER);
	assert_int_equal(b.world.worker, WATCH_WORKER);
	happen_with(&b, EVENT_READY, 4321, 0);
	assert_int_equal(b.world.worker, NO_WORKER);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_int_equal(b.world.cold_boot_ms, 4321);
	/* what a capture sees later is no news */
	happen_with(&b, EVENT_READY, 9999, 0);
	happen(&b, EVENT_FAILED);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_int_equal(b.world.cold_boot_ms, 4321);

	/* who has not seen it takes no later time for it */
	for (unsigned int i = 0; i < ARRAY_LEN(losses); i++) {
		boot_on_request(&b, READY_BY_WORKER);
		happen(&b, losses[i]);
		assert_int_equal(b.world.worker, NO_WORKER);
		assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
		assert_int_equal(b.world.cold_boot_ms, 0);
	}
}

static void test_cold_boot_is_timed_by_a_capture_that_comes_before_its_end(void **state)
{
	struct bench b;

	(void)state;
	boot_on_request(&b, READY_BY_WORKER);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_int_equal(b.world.worker, CAPTURE_WORKER);
	assert_true(b.world.cold_boot_ms == SUPERVISOR_BOOTS);
	happen_with(&b, EVENT_READY, 777, 0);
	happen(&b, EVENT_FAILED);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_int_equal(b.world.cold_boot_ms, 777);

	/* … and given up before that, it is lost */
	boot_on_request(&b, READY_BY_WORKER);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	happen(&b, EVENT_FAILED);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_int_equal(b.world.cold_boot_ms, 0);
}

static void test_cold_boot_of_an_engine_that_says_so_needs_no_watch(void **state)
{
	struct bench b;

	(void)state;
	boot_on_request(&b, READY_NOTIFY);
	assert_int_equal(b.world.watches, 0);
	b.s.booted_ns -= 5000 * NS_PER_MS;
	happen(&b, EVENT_SAYS_READY);
	b.s.booted_ns -= 5000 * NS_PER_MS;
	happen(&b, EVENT_SAYS_READY); /* it may say so again */
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_in_range(b.world.cold_boot_ms, 5000, 9000);
}

static void test_cold_boot_of_a_woken_engine_is_its_snapshots(void **state)
{
	struct bench b;

	(void)state;
	assert_true(go_to(&b, &on_request, STATE_WOKEN));
	happen_with(&b, EVENT_DONE, 60123, 0);
	assert_int_equal(b.world.watches, 0);
	happen(&b, EVENT_SAYS_READY);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_int_equal(b.world.cold_boot_ms, 60123);

	/* a worker that was lost could not say it */
	assert_true(go_to(&b, &on_request, STATE_WOKEN));
	happen(&b, EVENT_WORKER_EXIT);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_int_equal(b.world.cold_boot_ms, 0);
}

static void test_capture_is_not_made_of_what_cannot_wake(void **state)
{
	struct snap_error err;
	struct bench b;

	(void)state;
	assert_true(go_to(&b, &plain, STATE_SERVING));
	assert_int_equal(supervisor_ask_capture(&b.s, &err), -EINVAL);
	/* booted cold without a thought of captures */
	assert_true(go_to(&b, &wake, STATE_CLEANING));
	happen(&b, EVENT_CLEAN);
	in_state(&b, STATE_SERVING);
	assert_int_equal(supervisor_ask_capture(&b.s, &err), -EINVAL);
	assert_int_equal(b.world.captures, 0);
	/* woken: its pids are as they should be */
	assert_true(go_to(&b, &wake, STATE_SERVING));
	assert_int_equal(supervisor_ask_capture(&b.s, &err), 0);
	in_state(&b, STATE_CAPTURING);
	assert_int_equal(b.s.origin, ORIGIN_WAKE);
	assert_string_equal(b.s.generation, "text");
}

static void test_message_types_map_to_events(void **state)
{
	(void)state;
	assert_int_equal(supervisor_event_of(WORKER_MSG_BUDGET), EVENT_BUDGET);
	assert_int_equal(supervisor_event_of(WORKER_MSG_FAILED), EVENT_FAILED);
	assert_int_equal(supervisor_event_of(WORKER_MSG_RESUME), EVENT_BREACH);
	assert_int_equal(supervisor_event_of(WORKER_MSG_KEEP), EVENT_KEEP);
	assert_int_equal(supervisor_event_of(WORKER_MSG_THAWED), EVENT_THAWED);
	assert_int_equal(supervisor_event_of(WORKER_MSG_GO), EVENT_BREACH);
	assert_int_equal(supervisor_event_of(WORKER_MSG_KEPT), EVENT_BREACH);
	assert_int_equal(supervisor_event_of(WORKER_MSG_ENGINE_SAYS_READY), EVENT_BREACH);
	assert_int_equal(supervisor_event_of(12345), EVENT_BREACH);
}

static void test_states_and_events_have_names(void **state)
{
	(void)state;
	for (int i = 0; i < STATE_MAX_; i++)
		assert_string_not_equal(supervisor_state_name((enum supervisor_state)i), "unknown");
	for (int i = 0; i < EVENT_MAX_; i++)
		assert_string_not_equal(supervisor_event_name((enum supervisor_event)i), "unknown");
	assert_string_equal(supervisor_state_name(STATE_MAX_), "unknown");
	assert_string_equal(supervisor_event_name(EVENT_MAX_), "unknown");
}

static void test_second_wish_to_end_shortens_the_grace(void **state)
{
	static const struct init_options by_quit = {.stop_signal = SIGQUIT};
	struct event quit = {.type = EVENT_TERMINATE, .sig = SIGQUIT};
	struct bench b = {.world = {.engine = 0}};

	(void)state;
	begin(&b, &plain);
	happen(&b, EVENT_TERMINATE);
	happen(&b, EVENT_SIGNAL);
	in_state(&b, STATE_STOPPING);
	happen(&b, EVENT_TERMINATE);
	in_state(&b, STATE_KILLING);
	assert_int_equal(b.world.signals[SIGTERM], 2);
	assert_int_equal(b.world.signals[SIGUSR1], 1);

	/* whatever the first was */
	b = (struct bench){.world = {.engine = 0}};
	begin(&b, &by_quit);
	supervisor_handle(&b.s, &quit);
	in_state(&b, STATE_STOPPING);
	happen(&b, EVENT_TERMINATE);
	in_state(&b, STATE_KILLING);
}

static void test_second_wish_to_end_does_not_wait_for_a_capture(void **state)
{
	static const enum supervisor_state states[] = {STATE_FROZEN, STATE_MENDING,
						       STATE_RECOVERING};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(states); i++) {
		struct bench b;

		assert_true(go_to(&b, &first_boot, states[i]));
		happen(&b, EVENT_TERMINATE);
		in_state(&b, states[i]);
		happen(&b, EVENT_SIGNAL);
		in_state(&b, states[i]);
		happen(&b, EVENT_TERMINATE);
		in_state(&b, STATE_KILLING);
		assert_int_equal(b.world.signals[SIGTERM] + b.world.resumes, 0);
		happen_with(&b, EVENT_ENGINE_EXIT, 0, SIGNALED(9));
		happen(&b, EVENT_CLEAN);
		happen(&b, EVENT_DRAINED);
		in_state(&b, STATE_GONE);
		assert_int_equal(supervisor_exit_status(&b.s), 137);
		assert_int_equal(b.world.boots, 1);

		/* without one there is nothing to shorten */
		assert_true(go_to(&b, &first_boot, states[i]));
		b.options.grace_ms = 0;
		happen(&b, EVENT_TERMINATE);
		happen(&b, EVENT_TERMINATE);
		in_state(&b, states[i]);
	}
}

static void test_restored_engine_that_is_asked_to_end_has_its_grace(void **state)
{
	struct bench b;

	(void)state;
	assert_true(go_to(&b, &wake, STATE_RESUMING));
	happen(&b, EVENT_TERMINATE);
	in_state(&b, STATE_STOPPING);
	assert_int_equal(b.world.signals[SIGTERM], 1);
	/* the worker may not have come to let it run */
	assert_int_equal(b.world.worker, NO_WORKER);
	assert_int_equal(b.world.resumes, 1);
	assert_true(b.world.has_input);
	happen_with(&b, EVENT_ENGINE_EXIT, 0, EXITED(7));
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_DRAINED);
	assert_int_equal(supervisor_exit_status(&b.s), 7);
	assert_int_equal(b.world.boots, 0);

	/* nothing runs yet */
	assert_true(go_to(&b, &wake, STATE_WAKING));
	happen(&b, EVENT_TERMINATE);
	in_state(&b, STATE_CLEANING);
	assert_int_equal(b.s.failure.code, SNAP_E_STOPPED);

	/* who is to show that it wakes has not */
	assert_true(go_to(&b, &wake_to_see, STATE_RESUMING));
	happen(&b, EVENT_TERMINATE);
	happen_with(&b, EVENT_ENGINE_EXIT, 0, EXITED(0));
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_DRAINED);
	assert_int_equal(supervisor_exit_status(&b.s), 143);
}

static void test_without_a_grace_every_signal_is_only_passed_on(void **state)
{
	static const struct init_options endless = {.grace_ms = NO_GRACE};
	struct bench b = {.world = {.engine = 0}};

	(void)state;
	begin(&b, &endless);
	for (int i = 1; i <= 3; i++) {
		happen(&b, EVENT_TERMINATE);
		in_state(&b, STATE_SERVING);
		assert_int_equal(b.world.signals[SIGTERM], i);
	}
	assert_true(b.s.deadline_ns == DEADLINE_NEVER);
	assert_true(b.s.asked_to_end_ns > 0);
	happen_with(&b, EVENT_ENGINE_EXIT, 0, EXITED(7));
	in_state(&b, STATE_DRAINING);
	assert_int_equal(b.world.sweep, SWEEP_NOTHING);

	/* it serves on, so it may be captured; but nobody has seen the end of its boot */
	boot_on_request(&b, READY_BY_WORKER);
	b.options.grace_ms = 0;
	happen(&b, EVENT_TERMINATE);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.world.worker, NO_WORKER);
	assert_int_equal(supervisor_ask_capture(&b.s, NULL), 0);
	assert_int_equal(b.world.cold_boot_ms, 0);
	/* … and asked once more, it is not captured */
	happen(&b, EVENT_TERMINATE);
	in_state(&b, STATE_SERVING);
	assert_int_equal(b.s.report.outcome, CAPTURE_FAILED);
	assert_int_equal(b.s.report.code, SNAP_E_STOPPED);
}

static void test_what_is_left_has_the_rest_of_the_grace(void **state)
{
	struct bench b = {.world = {.engine = 0}};
	uint64_t deadline;

	(void)state;
	begin(&b, &plain);
	happen(&b, EVENT_TERMINATE);
	deadline = b.s.deadline_ns;
	happen_with(&b, EVENT_ENGINE_EXIT, 0, EXITED(7));
	in_state(&b, STATE_LEAVING);
	assert_int_equal(b.world.sweep, SWEEP_ASK);
	assert_true(b.s.deadline_ns == deadline);
	happen(&b, EVENT_DEADLINE);
	in_state(&b, STATE_KILLING);
	assert_int_equal(b.world.sweep, SWEEP_ALL);
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_DRAINED);
	assert_int_equal(supervisor_exit_status(&b.s), 7);

	/* nobody asked before: a grace of its own */
	b = (struct bench){.world = {.engine = 0}};
	begin(&b, &plain);
	happen_with(&b, EVENT_ENGINE_EXIT, 0, EXITED(8));
	in_state(&b, STATE_LEAVING);
	assert_in_range(deadline_left_ms(b.s.deadline_ns), 7000, 8000);
	happen(&b, EVENT_TERMINATE);
	in_state(&b, STATE_KILLING);
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_DRAINED);
	assert_int_equal(supervisor_exit_status(&b.s), 8);
}

static void test_rewritten_signals(void **state)
{
	struct init_options options = {.stop_signal = 0};
	struct bench b = {.world = {.engine = 0}};
	struct event event = {.sig = SIGHUP};

	(void)state;
	assert_int_equal(signal_map_parse(&options.rewrite, "TERM:QUIT,HUP:INT,USR1:0,INT:0"), 0);
	begin(&b, &options);
	happen(&b, EVENT_SIGNAL);
	assert_int_equal(b.world.signals[SIGUSR1], 0);
	/* dropped: it does not even start the grace */
	assert_int_equal(supervisor_event_of_signal(&b.s, SIGINT), EVENT_SIGNAL);
	assert_int_equal(supervisor_event_of_signal(&b.s, SIGTERM), EVENT_TERMINATE);
	event.type = supervisor_event_of_signal(&b.s, SIGHUP);
	assert_int_equal(event.type, EVENT_TERMINATE);
	supervisor_handle(&b.s, &event);
	in_state(&b, STATE_STOPPING);
	assert_int_equal(b.world.signals[SIGINT], 1);
	assert_int_equal(b.world.signals[SIGHUP], 0);

	/* a wish of our own is rewritten, too */
	assert_true(go_to(&b, &capture_exit, STATE_CAPTURING));
	b.options.rewrite = options.rewrite;
	happen(&b, EVENT_FAILED);
	in_state(&b, STATE_STOPPING);
	assert_int_equal(b.world.signals[SIGQUIT], 1);
	assert_int_equal(b.world.signals[SIGTERM], 0);
}

static void test_remapped_exit_is_the_engines_only(void **state)
{
	struct init_options options = {.remap_exit = {{0}}};
	struct bench b = {.world = {.engine = 0}};

	(void)state;
	options.remap_exit.bits[143 / 64] |= UINT64_C(1) << 143 % 64;
	options.remap_exit.bits[125 / 64] |= UINT64_C(1) << 125 % 64;
	begin(&b, &options);
	happen(&b, EVENT_TERMINATE);
	happen_with(&b, EVENT_ENGINE_EXIT, 0, SIGNALED(15));
	assert_int_equal(supervisor_exit_status(&b.s), 0);

	b = (struct bench){.world = {.fail_boot = -12}};
	begin(&b, &options);
	assert_int_equal(supervisor_exit_status(&b.s), 125);
	b = (struct bench){.world = {.fail_boot = 125}};
	begin(&b, &options);
	assert_int_equal(supervisor_exit_status(&b.s), 0);
}

static void test_pause_ends_when_asked(void **state)
{
	struct bench b = {.world = {.engine = 0}};

	(void)state;
	begin(&b, &pausing);
	in_state(&b, STATE_PAUSED);
	happen(&b, EVENT_SIGNAL);
	in_state(&b, STATE_PAUSED);
	happen(&b, EVENT_TERMINATE);
	in_state(&b, STATE_LEAVING);
	happen(&b, EVENT_CLEAN);
	happen(&b, EVENT_DRAINED);
	in_state(&b, STATE_GONE);
	assert_int_equal(supervisor_exit_status(&b.s), 0);
	assert_int_equal(b.world.boots, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cell_leads_somewhere_sound),
		cmocka_unit_test(test_events_that_come_too_late_change_nothing),
		cmocka_unit_test(test_random_walks_end_with_one_engine_at_most),
		cmocka_unit_test(test_deadlines_alone_lead_out_of_every_state),
		cmocka_unit_test(test_plain_mode_mirrors_the_child),
		cmocka_unit_test(test_upstream_hears_once_that_a_booted_engine_is_ready),
		cmocka_unit_test(test_capture_tells_that_its_engine_is_ready),
		cmocka_unit_test(test_capture_that_fails_before_leaves_somebody_to_wait),
		cmocka_unit_test(test_nobody_waits_where_nobody_wants_to_know),
		cmocka_unit_test(test_command_that_cannot_run_has_its_exit_status),
		cmocka_unit_test(test_interrupt_on_a_terminal_starts_no_grace),
		cmocka_unit_test(test_budget_moves_the_deadline_unless_the_user_set_one),
		cmocka_unit_test(test_wake_that_works_serves_and_asks_nobody_again),
		cmocka_unit_test(test_restored_gpu_is_closed_before_grace_kills),
		cmocka_unit_test(test_restored_gpu_is_closed_before_the_cold_boot),
		cmocka_unit_test(test_woken_device_memory_gives_its_suspension_time),
		cmocka_unit_test(test_captured_device_memory_gives_time),
		cmocka_unit_test(test_no_gpu_no_suspension),
		cmocka_unit_test(test_captured_gpu_is_closed_before_grace_kills),
		cmocka_unit_test(test_failed_wake_has_the_exit_status_of_its_reason),
		cmocka_unit_test(test_signals_wait_for_the_thaw),
		cmocka_unit_test(test_harmed_engine_is_booted_once_more_without_a_capture),
		cmocka_unit_test(test_engine_that_somebody_traces_is_not_taken_for_harmed),
		cmocka_unit_test(test_tree_with_holes_runs_only_after_its_recovery),
		cmocka_unit_test(test_what_a_recovery_reads_is_kept_until_the_tree_is_whole),
		cmocka_unit_test(test_tree_that_stays_with_holes_never_runs_again),
		cmocka_unit_test(test_wish_to_end_waits_for_the_recovery),
		cmocka_unit_test(test_capture_that_a_wish_cuts_short_is_told_as_that),
		cmocka_unit_test(test_wish_to_end_forbids_the_second_boot),
		cmocka_unit_test(test_capture_is_made_when_asked_for),
		cmocka_unit_test(test_cold_boot_is_timed_when_it_happens),
		cmocka_unit_test(test_cold_boot_is_timed_by_a_capture_that_comes_before_its_end),
		cmocka_unit_test(test_cold_boot_of_an_engine_that_says_so_needs_no_watch),
		cmocka_unit_test(test_cold_boot_of_a_woken_engine_is_its_snapshots),
		cmocka_unit_test(test_capture_is_not_made_of_what_cannot_wake),
		cmocka_unit_test(test_second_wish_to_end_shortens_the_grace),
		cmocka_unit_test(test_second_wish_to_end_does_not_wait_for_a_capture),
		cmocka_unit_test(test_restored_engine_that_is_asked_to_end_has_its_grace),
		cmocka_unit_test(test_without_a_grace_every_signal_is_only_passed_on),
		cmocka_unit_test(test_what_is_left_has_the_rest_of_the_grace),
		cmocka_unit_test(test_rewritten_signals),
		cmocka_unit_test(test_remapped_exit_is_the_engines_only),
		cmocka_unit_test(test_pause_ends_when_asked),
		cmocka_unit_test(test_message_types_map_to_events),
		cmocka_unit_test(test_states_and_events_have_names),
	};

	log_init("test", -1, LOG_FORMAT_JSON, LOG_LEVEL_DEBUG);
	if (argc > 1 && strcmp(argv[1], "--print") == 0) {
		print_picture();
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
