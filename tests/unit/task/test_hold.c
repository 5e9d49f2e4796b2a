/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/procfs.h"
#include "snapshot/task/hold.h"
#include "snapshot/task/threads.h"

#include "tests/lib/test.h"
#include "tests/unit/task/victim.h"

#define N_THREADS 64

struct held {
	struct task_hold hold;
	struct task_tree tree;
};

static void held_done(struct held *held)
{
	task_hold_done(&held->hold);
	task_hold_done(&held->hold);
	task_tree_done(&held->tree);
}

static void hold(pid_t root, struct held *ret)
{
	struct snap_error err = {0};

	*ret = (struct held){0};
	if (task_hold_stop(root, deadline_after_ms(20000), &ret->hold, &ret->tree, &err) != 0)
		fail_msg("%s", err.msg);
}

static int assert_thread_stopped(pid_t tid, void *arg)
{
	struct proc_stat stat;

	(void)arg;
	assert_int_equal(procfs_stat(tid, &stat), 0);
	if (!strchr("TtZX", stat.state))
		fail_msg("thread %d is in state %c", (int)tid, stat.state);
	return 0;
}

/* all of the tree, and nothing moves: the same tree after a while */
static void assert_rests(pid_t root, const struct task_tree *tree)
{
	struct task_tree later = {0};

	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < tree->n_processes; i++)
			assert_int_equal(
				threads_each(tree->processes[i].pid, assert_thread_stopped, NULL),
				0);
		(void)usleep(20000);
	}
	assert_int_equal(task_tree_collect(root, &later, NULL), 0);
	assert_int_equal(later.n_processes, tree->n_processes);
	assert_int_equal(later.n_ids, tree->n_ids);
	assert_memory_equal(later.ids, tree->ids, tree->n_ids * sizeof(*tree->ids));
	task_tree_done(&later);
}

static void let_go(pid_t root, struct held *held)
{
	struct snap_error err = {0};

	if (task_hold_continue(root, &held->hold, &err) != 0)
		fail_msg("%s", err.msg);
	held_done(held);
}

static void assert_turns(const struct victim *victim)
{
	uint64_t turns = atomic_load(&victim->shared->turns);
	uint64_t deadline_ns = deadline_after_ms(10000);

	while (atomic_load(&victim->shared->turns) < turns + 20 && clock_now_ns() < deadline_ns)
		(void)usleep(1000);
	assert_true(atomic_load(&victim->shared->turns) >= turns + 20);
}

static void *turn_thread(void *arg)
{
	struct victim *victim = arg;

	victim_ready(victim);
	for (;;) {
		atomic_fetch_add(&victim->shared->turns, 1);
		(void)usleep(1000);
	}
	return NULL;
}

static void act_threads(struct victim *victim)
{
	pthread_attr_t attr;
	pthread_t thread;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, 128UL << 10);
	for (int i = 0; i < N_THREADS; i++)
		(void)pthread_create(&thread, &attr, turn_thread, victim);
	(void)pthread_attr_destroy(&attr);
}

static void test_threads_stop_and_go(void **state)
{
	struct victim victim;
	struct held held;
	uint64_t start_ns;

	(void)state;
	victim_start(&victim, act_threads);
	assert_true(victim_wait(&victim.shared->ready, N_THREADS));
	start_ns = clock_now_ns();
	hold(victim.pid, &held);
	print_message("%d threads stopped in %.1f ms\n", N_THREADS,
		      (double)(clock_now_ns() - start_ns) / (double)NS_PER_MS);
	assert_int_equal(held.tree.n_processes, 1);
	assert_int_equal(held.tree.n_ids, N_THREADS + 1);
	assert_int_equal(held.hold.n_stopped_before, 0);
	assert_rests(victim.pid, &held.tree);
	let_go(victim.pid, &held);
	assert_turns(&victim);
	victim_end(&victim);
}

/* short-lived children all the time, by several parents */
static void act_fork(struct victim *victim)
{
	for (int i = 0; i < 3; i++) {
		if (fork() == 0)
			break;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* thousands of orphans are too much for the reaper of some machines */
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	victim_ready(victim);
	for (;;) {
		pid_t pid = fork();

		if (pid == 0) {
			if (fork() == 0)
				_exit(0);
			_exit(0);
		}
		(void)waitpid(pid, NULL, 0);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		atomic_fetch_add(&victim->shared->turns, 1);
	}
}

static void test_forking_tree(void **state)
{
	struct victim victim;
	struct held held;

	(void)state;
	victim_start(&victim, act_fork);
	/*
	 * The orphans are many thousands. They come to us and are gone without a wait; a PID 1 that
	 * reaps now and then would let them fill the machine's pids, and nobody could fork.
	 */
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	(void)signal(SIGCHLD, SIG_IGN);
	assert_true(victim_wait(&victim.shared->ready, 4));
	for (int i = 0; i < 10; i++) {
		hold(victim.pid, &held);
		assert_true(held.tree.n_processes >= 4);
		assert_rests(victim.pid, &held.tree);
		let_go(victim.pid, &held);
		assert_turns(&victim);
	}
	victim_end(&victim);
	(void)signal(SIGCHLD, SIG_DFL);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* a job-stopped child, a running one, a zombie */
static void act_mixed(struct victim *victim)
{
	pid_t stopped = fork(), running, zombie;

	if (stopped == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			(void)pause();
	}
	running = fork();
	if (running == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)turn_thread(victim);
	}
	zombie = fork();
	if (zombie == 0)
		_exit(0);
	atomic_store(&victim->shared->tids[0], stopped);
	atomic_store(&victim->shared->tids[1], zombie);
	victim_ready(victim);
}

static void test_job_stopped_child_stays_stopped(void **state)
{
	struct proc_stat stat;
	struct victim victim;
	struct held held;
	pid_t stopped;

	(void)state;
	victim_start(&victim, act_mixed);
	assert_true(victim_wait(&victim.shared->ready, 2));
	stopped = atomic_load(&victim.shared->tids[0]);
	assert_int_equal(kill(stopped, SIGSTOP), 0);
	assert_true(victim_wait_state(stopped, 'T'));
	assert_true(victim_wait_state(atomic_load(&victim.shared->tids[1]), 'Z'));
	for (int i = 0; i < 3; i++) {
		hold(victim.pid, &held);
		assert_int_equal(held.tree.n_processes, 4);
		assert_int_equal(held.hold.n_stopped_before, 1);
		assert_int_equal(held.hold.stopped_before[0], stopped);
		assert_rests(victim.pid, &held.tree);
		let_go(victim.pid, &held);
		assert_turns(&victim);
		assert_int_equal(procfs_stat(stopped, &stat), 0);
		assert_int_equal(stat.state, 'T');
	}
	/* without a list it runs as well */
	hold(victim.pid, &held);
	assert_int_equal(task_hold_continue(victim.pid, NULL, NULL), 0);
	held_done(&held);
	assert_true(victim_wait_state(stopped, 'S'));
	victim_end(&victim);
}

/* the main thread has ended, the others have not */
static void act_without_main_thread(struct victim *victim)
{
	pthread_t thread;

	(void)pthread_create(&thread, NULL, turn_thread, victim);
	(void)syscall(SYS_exit, 0);
}

static void test_ended_main_thread(void **state)
{
	struct victim victim;
	struct held held;

	(void)state;
	victim_start(&victim, act_without_main_thread);
	assert_true(victim_wait_state(victim.pid, 'Z'));
	hold(victim.pid, &held);
	assert_int_equal(held.tree.n_processes, 1);
	assert_int_equal(held.hold.n_stopped_before, 0);
	assert_rests(victim.pid, &held.tree);
	let_go(victim.pid, &held);
	assert_turns(&victim);
	victim_end(&victim);
}

/* vfork: the child holds its parent's memory until go, then becomes a program of its own */
static int vfork_child(void *arg)
{
	struct victim *victim = arg;

	victim_ready(victim);
	while (!atomic_load(&victim->shared->go))
		(void)usleep(1000);
	(void)execl("/bin/sleep", "sleep", "1000", (char *)NULL);
	_exit(127);
}

static void act_vfork(struct victim *victim)
{
	static char stack[65536] __attribute__((aligned(16)));

	(void)clone(vfork_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, victim);
	atomic_store(&victim->shared->finished, 1);
}

static void *let_vfork_child_go(void *arg)
{
	struct victim *victim = arg;

	(void)usleep(100000);
	atomic_store(&victim->shared->go, 1);
	return NULL;
}

static void test_vfork_parent_is_stopped_after_its_child_lets_go(void **state)
{
	struct victim victim;
	struct held held;
	pthread_t thread;

	(void)state;
	victim_start(&victim, act_vfork);
	assert_true(victim_wait_state(victim.pid, 'D'));
	assert_int_equal(pthread_create(&thread, NULL, let_vfork_child_go, &victim), 0);
	hold(victim.pid, &held);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(held.tree.n_processes, 2);
	assert_int_equal(held.hold.n_stopped_before, 0);
	assert_rests(victim.pid, &held.tree);
	assert_int_equal(atomic_load(&victim.shared->finished), 0);
	let_go(victim.pid, &held);
	assert_true(victim_wait(&victim.shared->finished, 1));
	victim_end(&victim);
}

static void test_one_that_does_not_stop_is_named(void **state)
{
	struct snap_error err = {0};
	struct task_tree tree = {0};
	struct task_hold none = {0};
	struct victim victim;
	char expected[64];

	(void)state;
	victim_start(&victim, act_vfork);
	assert_true(victim_wait_state(victim.pid, 'D'));
	assert_int_equal(task_hold_stop(victim.pid, deadline_after_ms(300), &none, &tree, &err),
			 -ETIMEDOUT);
	(void)snprintf(expected, sizeof(expected), "process %d (", (int)victim.pid);
	assert_non_null(strstr(err.msg, expected));
	assert_non_null(strstr(err.msg, "in state D"));
	assert_null(tree.processes);
	assert_null(none.stopped_before);
	/* and all run again */
	atomic_store(&victim.shared->go, 1);
	assert_true(victim_wait(&victim.shared->finished, 1));
	victim_end(&victim);
}

/* vforks all the time */
static void act_vfork_often(struct victim *victim)
{
	victim_ready(victim);
	for (;;) {
		pid_t pid = vfork();

		if (pid == 0) {
			(void)execl("/bin/true", "true", (char *)NULL);
			_exit(127);
		}
		(void)waitpid(pid, NULL, 0);
		atomic_fetch_add(&victim->shared->turns, 1);
	}
}

static void test_vforking_tree(void **state)
{
	struct victim victim;
	struct held held;

	(void)state;
	victim_start(&victim, act_vfork_often);
	for (int i = 0; i < 20; i++) {
		hold(victim.pid, &held);
		assert_rests(victim.pid, &held.tree);
		let_go(victim.pid, &held);
		assert_turns(&victim);
	}
	victim_end(&victim);
}

/* a process of the tree continues its sibling for ever, until it is stopped itself */
static void act_continuer(struct victim *victim)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)turn_thread(victim);
	}
	victim_ready(victim);
	for (;;) {
		(void)kill(pid, SIGCONT);
		(void)usleep(100);
	}
}

static void test_continued_meanwhile(void **state)
{
	struct victim victim;
	struct held held;

	(void)state;
	victim_start(&victim, act_continuer);
	assert_true(victim_wait(&victim.shared->ready, 2));
	for (int i = 0; i < 10; i++) {
		hold(victim.pid, &held);
		assert_int_equal(held.hold.n_stopped_before, 0);
		assert_rests(victim.pid, &held.tree);
		let_go(victim.pid, &held);
		assert_turns(&victim);
	}
	victim_end(&victim);
}

static void test_missing_root(void **state)
{
	struct task_tree tree = {0};
	struct task_hold none = {0};
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	assert_int_equal(task_hold_stop(pid, deadline_after_ms(1000), &none, &tree, NULL), -ESRCH);
	assert_int_equal(task_hold_continue(pid, &none, NULL), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_stop_and_go),
		cmocka_unit_test(test_forking_tree),
		cmocka_unit_test(test_job_stopped_child_stays_stopped),
		cmocka_unit_test(test_ended_main_thread),
		cmocka_unit_test(test_vfork_parent_is_stopped_after_its_child_lets_go),
		cmocka_unit_test(test_one_that_does_not_stop_is_named),
		cmocka_unit_test(test_vforking_tree),
		cmocka_unit_test(test_continued_meanwhile),
		cmocka_unit_test(test_missing_root),
	};

	return cmocka_run_group_tests_name("hold", tests, NULL, NULL);
}
