/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "init/signals.h"

#include "tests/lib/test.h"

/* signal state belongs to the whole process: each case runs in a child of its own */
static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(fn());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* from somebody else, as signals of our own are left out */
static void send_from_outside(int sig)
{
	pid_t target = getpid();
	pid_t pid = fork();

	if (pid == 0) {
		(void)kill(target, sig);
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
}

/* the next signal that is not the news of our messenger's death */
static int next(struct signals *signals)
{
	int sig;

	do
		sig = signals_next(signals);
	while (sig == SIGCHLD);
	return sig;
}

static int read_signals(void)
{
	struct signals signals;

	if (signals_init(&signals, false) < 0 || signals_next(&signals) != 0)
		return 1;
	send_from_outside(SIGSEGV);
	if (next(&signals) != SIGSEGV)
		return 2;
	send_from_outside(SIGRTMAX);
	if (next(&signals) != SIGRTMAX)
		return 3;
	send_from_outside(SIGTTOU);
	if (next(&signals) != 0)
		return 4;
	signals_done(&signals);
	return 0;
}

static int ignore_own_sigpipe(void)
{
	struct signals signals;
	int fds[2];

	if (signals_init(&signals, false) < 0 || pipe(fds) < 0)
		return 1;
	(void)close(fds[0]);
	if (write(fds[1], "x", 1) != -1)
		return 2;
	if (signals_next(&signals) != 0)
		return 3;
	send_from_outside(SIGPIPE);
	return next(&signals) == SIGPIPE ? 0 : 4;
}

static int hear_of_children(void)
{
	struct signals signals;
	pid_t pid;

	(void)signal(SIGCHLD, SIG_IGN); /* as a careless parent leaves it */
	if (signals_init(&signals, false) < 0)
		return 1;
	if (!sigismember(&signals.ignored, SIGCHLD))
		return 2;
	pid = fork();
	if (pid == 0)
		_exit(7);
	for (int i = 0; i < 1000; i++) {
		siginfo_t info = {.si_pid = 0};

		if (signals_next(&signals) == SIGCHLD &&
		    waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG) == 0)
			return info.si_pid == pid && info.si_status == 7 ? 0 : 3;
		(void)usleep(1000);
	}
	return 4;
}

static int remember_what_came(void)
{
	struct signals signals;
	sigset_t mask;

	(void)signal(SIGHUP, SIG_IGN);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR2);
	(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	if (signals_init(&signals, false) < 0)
		return 1;
	for (int sig = 1; sig < 32; sig++) {
		if (sigismember(&signals.ignored, sig) != (sig == SIGHUP) ||
		    sigismember(&signals.mask, sig) != (sig == SIGUSR2))
			return 100 + sig;
	}
	return 0;
}

static int hear_ignored(void)
{
	struct signals signals;

	(void)signal(SIGHUP, SIG_IGN);
	if (signals_init(&signals, false) < 0)
		return 1;
	send_from_outside(SIGHUP);
	return next(&signals) == SIGHUP ? 0 : 2;
}

static void test_every_signal_but_job_control_is_read(void **state)
{
	(void)state;
	assert_int_equal(in_child(read_signals), 0);
}

static void test_sigpipe_of_our_own_making_is_left_out(void **state)
{
	(void)state;
	assert_int_equal(in_child(ignore_own_sigpipe), 0);
}

static void test_children_are_heard_of_although_sigchld_was_ignored(void **state)
{
	(void)state;
	assert_int_equal(in_child(hear_of_children), 0);
}

static void test_inherited_mask_and_ignored_signals_are_remembered(void **state)
{
	(void)state;
	assert_int_equal(in_child(remember_what_came), 0);
}

static void test_inherited_ignored_signal_is_still_heard(void **state)
{
	(void)state;
	assert_int_equal(in_child(hear_ignored), 0);
}

static void test_held_signals_come_out_once_in_order(void **state)
{
	struct held_signals held = {0};

	(void)state;
	assert_int_equal(held_signals_take(&held), 0);
	held_signals_add(&held, 64);
	held_signals_add(&held, SIGTERM);
	held_signals_add(&held, SIGTERM);
	held_signals_add(&held, SIGHUP);
	held_signals_add(&held, 0);
	held_signals_add(&held, 65);
	assert_true(held_signals_has(&held, SIGTERM));
	assert_false(held_signals_has(&held, SIGINT));
	assert_false(held_signals_has(&held, 0));
	assert_int_equal(held_signals_take(&held), SIGHUP);
	assert_int_equal(held_signals_take(&held), SIGTERM);
	assert_int_equal(held_signals_take(&held), 64);
	assert_int_equal(held_signals_take(&held), 0);
}

static void test_signals_have_names(void **state)
{
	char buf[16];

	(void)state;
	assert_string_equal(signal_name(SIGTERM, buf, sizeof(buf)), "TERM");
	assert_string_equal(signal_name(SIGRTMIN + 2, buf, sizeof(buf)), "RTMIN+2");
	assert_string_equal(signal_name(99, buf, sizeof(buf)), "99");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_signal_but_job_control_is_read),
		cmocka_unit_test(test_sigpipe_of_our_own_making_is_left_out),
		cmocka_unit_test(test_children_are_heard_of_although_sigchld_was_ignored),
		cmocka_unit_test(test_inherited_mask_and_ignored_signals_are_remembered),
		cmocka_unit_test(test_inherited_ignored_signal_is_still_heard),
		cmocka_unit_test(test_held_signals_come_out_once_in_order),
		cmocka_unit_test(test_signals_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
