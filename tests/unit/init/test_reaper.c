/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/procfs.h"
#include "init/reaper.h"

#include "tests/lib/test.h"

#define CHILDREN 20

struct seen {
	int n;
	int statuses;
	int last_status;
};

static void look(pid_t pid, int status, void *arg)
{
	struct seen *seen = arg;
	struct proc_stat stat;

	/* told before it is reaped: the pid is still its own */
	assert_int_equal(procfs_stat(pid, &stat), 0);
	assert_int_equal(stat.state, 'Z');
	seen->n++;
	seen->statuses += WIFEXITED(status) ? WEXITSTATUS(status) : 0;
	seen->last_status = status;
}

/* as the loop does it: again and again, until n are seen */
static void reap(struct seen *seen, int n)
{
	for (int i = 0; i < 5000 && seen->n < n; i++) {
		int r = reaper_run(look, seen);

		assert_true(r >= 0);
		if (r == 0)
			(void)usleep(1000);
	}
	assert_int_equal(seen->n, n);
}

static void test_all_dead_children_are_told_and_reaped(void **state)
{
	struct seen seen = {0};

	(void)state;
	for (int i = 0; i < CHILDREN; i++) {
		if (fork() == 0)
			_exit(i);
	}
	reap(&seen, CHILDREN);
	assert_int_equal(seen.statuses, CHILDREN * (CHILDREN - 1) / 2);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static void test_nobody_dead_is_zero(void **state)
{
	struct seen seen = {0};
	pid_t pid;

	(void)state;
	assert_int_equal(reaper_run(look, &seen), 0);
	pid = fork();
	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	assert_int_equal(reaper_run(look, &seen), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	reap(&seen, 1);
	assert_true(WIFSIGNALED(seen.last_status));
	assert_int_equal(WTERMSIG(seen.last_status), SIGKILL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_dead_children_are_told_and_reaped),
		cmocka_unit_test(test_nobody_dead_is_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
