/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/procfs.h"
#include "init/descendants.h"

#include "tests/lib/test.h"

static int adopt(void **state)
{
	(void)state;
	return prctl(PR_SET_CHILD_SUBREAPER, 1L);
}

/* a child with a child, which may have a session of its own; the grandchild's pid */
static pid_t start_pair(pid_t *ret_child, bool own_session, bool orphan)
{
	pid_t child, grandchild;
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		if (own_session)
			(void)setsid();
		grandchild = fork();
		if (grandchild != 0) {
			if (write(fds[1], &grandchild, sizeof(grandchild)) < 0 || orphan)
				_exit(0);
		}
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(fds[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	(void)close(fds[0]);
	(void)close(fds[1]);
	if (orphan)
		assert_int_equal(waitpid(child, NULL, 0), child);
	*ret_child = child;
	return grandchild;
}

static bool is_alive(pid_t pid)
{
	struct proc_stat stat;

	return procfs_stat(pid, &stat) == 0 && stat.state != 'Z';
}

/* sweep and reap until nothing is found, as the loop does */
static void sweep(const struct descendants_spare *spare)
{
	for (int i = 0; i < 5000; i++) {
		int found = descendants_kill(spare);

		assert_true(found >= 0);
		/* also the last one, which may have died between two looks */
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (found == 0)
			return;
		(void)usleep(1000);
	}
	fail_msg("something does not die");
}

static void test_all_generations_die(void **state)
{
	const struct descendants_spare nothing = {.root = 0};
	pid_t child, grandchild, other, orphan;

	(void)state;
	grandchild = start_pair(&child, false, false);
	orphan = start_pair(&other, true, true);
	assert_true(is_alive(child) && is_alive(grandchild) && is_alive(orphan));
	sweep(&nothing);
	assert_false(is_alive(child) || is_alive(grandchild) || is_alive(orphan));
	assert_int_equal(descendants_kill(&nothing), 0);
}

static void test_a_stopped_process_dies_as_well(void **state)
{
	const struct descendants_spare nothing = {.root = 0};
	pid_t child, grandchild = start_pair(&child, false, false);

	(void)state;
	assert_int_equal(kill(child, SIGSTOP), 0);
	assert_int_equal(kill(grandchild, SIGSTOP), 0);
	sweep(&nothing);
	assert_false(is_alive(child) || is_alive(grandchild));
}

static void *wait_for_ever(void *arg)
{
	(void)arg;
	for (;;)
		(void)pause();
	return NULL;
}

/* its descriptors, and with them its ports, are held by the thread */
static void test_zombie_with_a_thread_counts(void **state)
{
	const struct descendants_spare nothing = {.root = 0};
	struct proc_stat stat = {.state = '?'};
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		pthread_t thread;

		(void)pthread_create(&thread, NULL, wait_for_ever, NULL);
		(void)syscall(SYS_exit, 0); /* the leader alone */
	}
	for (int i = 0; i < 5000 && stat.state != 'Z'; i++) {
		(void)usleep(1000);
		assert_int_equal(procfs_stat(child, &stat), 0);
	}
	assert_int_equal(stat.state, 'Z');
	assert_int_equal(stat.n_threads, 2);
	assert_int_equal(descendants_count(&nothing), 1);
	sweep(&nothing);
	assert_int_equal(descendants_count(&nothing), 0);
	assert_int_equal(waitpid(child, NULL, WNOHANG), -1); /* the sweep has reaped it */
}

static void test_spared_tree_and_its_session_live_on(void **state)
{
	struct descendants_spare spare = {.root = 0}, nothing = {.root = 0};
	pid_t root, below, intruder, its_child;

	(void)state;
	below = start_pair(&root, true, false);
	its_child = start_pair(&intruder, true, false);
	spare.root = root;
	sweep(&spare);
	assert_true(is_alive(root) && is_alive(below));
	assert_false(is_alive(intruder) || is_alive(its_child));

	/* a helper that lost its parent keeps the session of the root that is gone */
	assert_int_equal(kill(root, SIGKILL), 0);
	assert_int_equal(waitpid(root, NULL, 0), root);
	sweep(&spare);
	assert_true(is_alive(below));
	sweep(&nothing);
	assert_false(is_alive(below));
}

static void test_older_processes_live_on(void **state)
{
	struct descendants_spare spare = {.root = 0}, nothing = {.root = 0};
	struct proc_stat stat;
	pid_t old, old_child, young, young_child;

	(void)state;
	old_child = start_pair(&old, true, false);
	(void)usleep(50000); /* start times have a resolution of 10 ms */
	young_child = start_pair(&young, true, false);
	assert_int_equal(procfs_stat(young, &stat), 0);
	spare.since = stat.start_ticks;
	sweep(&spare);
	assert_true(is_alive(old) && is_alive(old_child));
	assert_false(is_alive(young) || is_alive(young_child));
	sweep(&nothing);
}

static void test_signal_reaches_the_tree_only(void **state)
{
	const struct descendants_spare nothing = {.root = 0};
	pid_t root, below, other, its_child;
	struct proc_stat stat;

	(void)state;
	below = start_pair(&root, true, false);
	its_child = start_pair(&other, true, false);
	assert_int_equal(descendants_signal_tree(root, SIGSTOP), 2);
	(void)usleep(20000);
	assert_int_equal(procfs_stat(root, &stat), 0);
	assert_int_equal(stat.state, 'T');
	assert_int_equal(procfs_stat(below, &stat), 0);
	assert_int_equal(stat.state, 'T');
	assert_int_equal(procfs_stat(other, &stat), 0);
	assert_int_equal(stat.state, 'S');
	assert_int_equal(procfs_stat(its_child, &stat), 0);
	assert_int_equal(stat.state, 'S');
	sweep(&nothing);
}

static void test_a_dead_leaders_session_dies_and_others_live(void **state)
{
	const struct descendants_spare nothing = {.root = 0};
	pid_t leader, left, other, its_child;

	(void)state;
	left = start_pair(&leader, true, true);
	its_child = start_pair(&other, true, false);
	descendants_kill_session(leader);
	assert_int_equal(waitpid(left, NULL, 0), left);
	assert_true(is_alive(other));
	assert_true(is_alive(its_child));
	sweep(&nothing);
}

static void test_all_generations_are_asked_also_stopped_ones(void **state)
{
	const struct descendants_spare nobody = {.root = 0};
	pid_t child, grandchild = start_pair(&child, true, false);

	(void)state;
	assert_int_equal(kill(grandchild, SIGSTOP), 0);
	assert_int_equal(descendants_count(&nobody), 2);
	assert_int_equal(descendants_ask(), 2);
	/* both died of it: there was no KILL */
	for (int i = 0; i < 2; i++) {
		pid_t pid = i == 0 ? child : grandchild;
		int status;

		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	}
	assert_int_equal(descendants_count(&nobody), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_generations_die),
		cmocka_unit_test(test_a_stopped_process_dies_as_well),
		cmocka_unit_test(test_zombie_with_a_thread_counts),
		cmocka_unit_test(test_spared_tree_and_its_session_live_on),
		cmocka_unit_test(test_older_processes_live_on),
		cmocka_unit_test(test_signal_reaches_the_tree_only),
		cmocka_unit_test(test_all_generations_are_asked_also_stopped_ones),
		cmocka_unit_test(test_a_dead_leaders_session_dies_and_others_live),
	};

	return cmocka_run_group_tests(tests, adopt, NULL);
}
