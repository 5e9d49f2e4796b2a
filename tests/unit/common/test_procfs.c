/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/procfs.h"

#include "tests/lib/test.h"

static void test_own_stat_is_true(void **state)
{
	struct proc_stat stat;

	(void)state;
	assert_int_equal(procfs_stat(getpid(), &stat), 0);
	assert_int_equal(stat.pid, getpid());
	assert_int_equal(stat.ppid, getppid());
	assert_int_equal(stat.pgrp, getpgrp());
	assert_int_equal(stat.session, getsid(0));
	assert_int_equal(stat.state, 'R');
	assert_true(stat.start_ticks > 0);
}

static void test_name_with_parentheses_and_blanks_confuses_nobody(void **state)
{
	struct proc_stat stat;
	char old[16];

	(void)state;
	assert_int_equal(prctl(PR_GET_NAME, old), 0);
	assert_int_equal(prctl(PR_SET_NAME, ") R 1 (x) 2"), 0);
	assert_int_equal(procfs_stat(getpid(), &stat), 0);
	assert_string_equal(stat.comm, ") R 1 (x) 2");
	assert_int_equal(stat.ppid, getppid());
	assert_int_equal(prctl(PR_SET_NAME, old), 0);
}

static void test_gone_process_is_told(void **state)
{
	struct proc_stat stat;

	(void)state;
	assert_int_equal(procfs_stat(0x7ffffff0, &stat), -ENOENT);
	assert_int_equal(procfs_status_field(0x7ffffff0, "Pid", (char[8]){0}, 8), -ENOENT);
}

static void test_zombie_is_seen(void **state)
{
	struct proc_stat stat;
	siginfo_t info;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(procfs_stat(pid, &stat), 0);
	assert_int_equal(stat.state, 'Z');
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

struct walk {
	pid_t last;
	int seen_self;
};

static int look(pid_t pid, void *arg)
{
	struct walk *walk = arg;

	assert_true(pid > walk->last);
	walk->last = pid;
	if (pid != getpid())
		return 0;
	walk->seen_self++;
	return 42;
}

static void test_walk_is_ascending_and_stops_when_told(void **state)
{
	struct walk walk = {0};

	(void)state;
	assert_int_equal(procfs_each_pid(look, &walk), 42);
	assert_int_equal(walk.seen_self, 1);
	assert_int_equal(walk.last, getpid());
}

static void test_descent_goes_over_generations(void **state)
{
	int fds[2];
	pid_t grandchild, child;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		pid_t pid = fork();

		if (pid == 0) {
			(void)pause();
			_exit(0);
		}
		if (write(fds[1], &pid, sizeof(pid)) != sizeof(pid))
			_exit(1);
		(void)waitpid(pid, NULL, 0);
		_exit(0);
	}
	assert_int_equal(read(fds[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
	assert_true(procfs_is_descendant(grandchild, getpid()));
	assert_true(procfs_is_descendant(grandchild, child));
	assert_true(procfs_is_descendant(child, getpid()));
	assert_false(procfs_is_descendant(child, grandchild));
	assert_false(procfs_is_descendant(child, child));
	assert_false(procfs_is_descendant(getpid(), child));
	assert_int_equal(kill(grandchild, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_false(procfs_is_descendant(grandchild, getpid()));
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void test_status_field_is_found_whole(void **state)
{
	char buf[64];

	(void)state;
	assert_int_equal(procfs_status_field(getpid(), "Name", buf, sizeof(buf)), 0);
	assert_int_equal(strncmp(buf, "test_procfs", 11), 0);
	assert_int_equal(procfs_status_field(getpid(), "Threads", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "1");
	assert_int_equal(procfs_status_field(getpid(), "Thread", buf, sizeof(buf)), -ENOENT);
	assert_int_equal(procfs_status_field(getpid(), "Name", buf, 3), -ENOSPC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_stat_is_true),
		cmocka_unit_test(test_name_with_parentheses_and_blanks_confuses_nobody),
		cmocka_unit_test(test_gone_process_is_told),
		cmocka_unit_test(test_zombie_is_seen),
		cmocka_unit_test(test_walk_is_ascending_and_stops_when_told),
		cmocka_unit_test(test_descent_goes_over_generations),
		cmocka_unit_test(test_status_field_is_found_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
