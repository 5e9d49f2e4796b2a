/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/pidref.h"

#include "tests/lib/test.h"

static pid_t sleeper(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	assert_true(pid > 0);
	return pid;
}

static void ends_by(pid_t pid, int sig)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), sig);
}

static void test_held_process_is_signalled(void **state)
{
	struct pidref ref;
	pid_t pid = sleeper();

	(void)state;
	assert_int_equal(pidref_open(&ref, pid), 0);
	assert_true(pidref_is_set(&ref));
	assert_int_equal(pidref_kill(&ref, 0), 0);
	assert_int_equal(pidref_kill(&ref, SIGKILL), 0);
	ends_by(pid, SIGKILL);
	assert_int_equal(pidref_kill(&ref, SIGKILL), -ESRCH);
	pidref_done(&ref);
	assert_false(pidref_is_set(&ref));
	pidref_done(&ref);
}

static void test_reaped_process_is_never_signalled_by_number(void **state)
{
	struct pidref ref;
	pid_t pid = sleeper();

	(void)state;
	assert_int_equal(pidref_open(&ref, pid), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	ends_by(pid, SIGKILL);
	/* even if the number means somebody else by now */
	ref.pid = getpid();
	assert_int_equal(pidref_kill(&ref, SIGTERM), -ESRCH);
	pidref_done(&ref);
}

static void test_without_pidfd_the_number_is_used(void **state)
{
	pid_t pid = sleeper();
	struct pidref ref = {.pid = pid, .fd = FD_NONE};

	(void)state;
	assert_int_equal(pidref_kill(&ref, SIGTERM), 0);
	ends_by(pid, SIGTERM);
}

static void test_nothing_is_not_signalled(void **state)
{
	struct pidref none = PIDREF_NONE, ref;

	(void)state;
	assert_int_equal(none.fd, FD_NONE);
	assert_int_equal(pidref_kill(&none, SIGKILL), -ESRCH);
	assert_int_equal(pidref_open(&ref, 0x7ffffff0), -ESRCH);
	assert_false(pidref_is_set(&ref));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_held_process_is_signalled),
		cmocka_unit_test(test_reaped_process_is_never_signalled_by_number),
		cmocka_unit_test(test_without_pidfd_the_number_is_used),
		cmocka_unit_test(test_nothing_is_not_signalled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
