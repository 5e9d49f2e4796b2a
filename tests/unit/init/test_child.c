/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "init/child.h"

#include "tests/lib/test.h"

#define W(text) ((char *)(uintptr_t)(text))

static struct signals no_signals;

static int status_of(struct child_plan *plan, const char *line)
{
	char *argv[] = {W("sh"), W("-c"), W(line), NULL};
	struct snap_error err;
	struct pidref ref;
	int status;

	plan->argv = argv;
	plan->signals = &no_signals;
	assert_int_equal(child_boot(plan, &ref, &err), 0);
	assert_int_equal(process_wait(&ref, deadline_after_ms(10000), &status), 0);
	pidref_done(&ref);
	plan->argv = NULL;
	return child_exit_status(status);
}

static void test_statuses_become_exit_codes(void **state)
{
	(void)state;
	assert_int_equal(child_exit_status(42 << 8), 42);
	assert_int_equal(child_exit_status(255 << 8), 255);
	assert_int_equal(child_exit_status(SIGKILL), 137);
	assert_int_equal(child_exit_status(SIGSEGV | 0x80), 139);
}

static void test_missing_and_unusable_commands_differ(void **state)
{
	char *missing[] = {W("/nonexistent"), NULL}, *unusable[] = {W("/etc/passwd"), NULL};
	struct child_plan plan = {.argv = missing, .signals = &no_signals};
	struct snap_error err;
	struct pidref ref;

	(void)state;
	assert_int_equal(child_boot(&plan, &ref, &err), 127);
	assert_int_equal(err.errnum, ENOENT);
	plan.argv = unusable;
	assert_int_equal(child_boot(&plan, &ref, &err), 126);
	assert_int_equal(err.errnum, EACCES);
}

static void test_plain_child_leads_a_group_in_our_session(void **state)
{
	struct child_plan plan = {.contained = false};

	(void)state;
	assert_int_equal(
		status_of(&plan, "set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 != $6 ]"), 0);
}

static void test_contained_child_leads_a_session_and_has_no_other_descriptors(void **state)
{
	struct child_plan plan = {.contained = true};
	int extra = dup(2); /* without close-on-exec */
	char line[128];

	(void)state;
	(void)snprintf(line, sizeof(line),
		       "set -- $(cat /proc/$$/stat); [ $1 = $6 ] && [ ! -e /proc/$$/fd/%d ]",
		       extra);
	assert_int_equal(status_of(&plan, line), 0);
	(void)snprintf(line, sizeof(line), "[ -e /proc/$$/fd/%d ]", extra);
	plan.contained = false;
	assert_int_equal(status_of(&plan, line), 0);
	(void)fd_close(extra);
}

static void test_descriptors_that_were_closed_are_closed_again(void **state)
{
	struct child_plan plan = {.closed_stdio = 1 << 0};

	(void)state;
	assert_int_equal(status_of(&plan, "[ ! -e /proc/$$/fd/0 ] && [ -e /proc/$$/fd/1 ]"), 0);
}

/* in a pid namespace of its own: the first pid after the cursor was moved, 255 for no such right */
static int pid_after_cursor(bool read_only_proc)
{
	int status, result = 0;
	pid_t outer = fork();

	if (outer == 0) {
		if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
			_exit(255);
		pid_t init = fork();

		if (init == 0) {
			if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
			    mount("proc", "/proc", "proc", 0, NULL) < 0 ||
			    (read_only_proc && mount("proc", "/proc", "proc",
						     MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0))
				_exit(255);
			if (child_move_pid_cursor(200) < 0)
				_exit(1);
			pid_t pid = fork();

			if (pid == 0)
				_exit(0);
			(void)waitpid(pid, NULL, 0);
			/* no zombie of a used up pid is left */
			_exit(waitpid(-1, NULL, __WALL | WNOHANG) == -1 && errno == ECHILD ? pid
											   : 2);
		}
		(void)waitpid(init, &status, 0);
		_exit(WEXITSTATUS(status));
	}
	assert_int_equal(waitpid(outer, &status, 0), outer);
	result = WEXITSTATUS(status);
	if (result == 255) {
		print_message("SKIP: no pid namespace can be made here\n");
		skip();
	}
	return result;
}

static void test_pid_cursor_is_moved_by_the_kernel(void **state)
{
	(void)state;
	assert_int_equal(pid_after_cursor(false), 200);
}

static void test_pid_cursor_is_moved_by_using_up_pids(void **state)
{
	(void)state;
	assert_int_equal(pid_after_cursor(true), 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statuses_become_exit_codes),
		cmocka_unit_test(test_missing_and_unusable_commands_differ),
		cmocka_unit_test(test_plain_child_leads_a_group_in_our_session),
		cmocka_unit_test(test_contained_child_leads_a_session_and_has_no_other_descriptors),
		cmocka_unit_test(test_descriptors_that_were_closed_are_closed_again),
		cmocka_unit_test(test_pid_cursor_is_moved_by_the_kernel),
		cmocka_unit_test(test_pid_cursor_is_moved_by_using_up_pids),
	};

	(void)sigemptyset(&no_signals.mask);
	(void)sigemptyset(&no_signals.ignored);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
