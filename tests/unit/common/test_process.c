/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/process.h"

#include "tests/lib/test.h"

#define W(text) ((char *)(uintptr_t)(text))

/* run a program as spec says, with its stdout into buf; its wait status */
static int run_program(struct process_spec *spec, char **argv, char *buf, size_t size)
{
	struct process_fd fds[PROCESS_FDS_MAX];
	struct pidref ref;
	int pipe_fds[2], status = -1;
	ssize_t n;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	for (unsigned int i = 0; i < spec->n_fds; i++)
		fds[i] = spec->fds[i];
	fds[spec->n_fds] = (struct process_fd){.from = pipe_fds[1], .to = STDOUT_FILENO};
	spec->argv = argv;
	spec->fds = fds;
	spec->n_fds++;
	assert_int_equal(process_spawn(spec, &ref, NULL), 0);
	(void)fd_close(pipe_fds[1]);
	n = io_read_full(pipe_fds[0], buf, size - 1);
	assert_true(n >= 0);
	buf[n] = '\0';
	(void)fd_close(pipe_fds[0]);
	assert_int_equal(process_wait(&ref, deadline_after_ms(10000), &status), 0);
	pidref_done(&ref);
	return status;
}

static int run_shell(struct process_spec *spec, const char *line, char *buf, size_t size)
{
	char *argv[] = {W("sh"), W("-c"), W(line), NULL};

	return run_program(spec, argv, buf, size);
}

static void test_exit_status_comes_back(void **state)
{
	struct process_spec spec = {.death_signal = SIGKILL};
	char buf[64];
	int status = run_shell(&spec, "echo hello; exit 7", buf, sizeof(buf));

	(void)state;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	assert_string_equal(buf, "hello\n");
}

static void test_failed_exec_is_told_and_leaves_no_child(void **state)
{
	char *argv[] = {W("/nonexistent/program"), NULL}, *directory[] = {W("/"), NULL};
	struct process_spec spec = {.argv = argv};
	struct snap_error err;
	struct pidref ref;

	(void)state;
	assert_int_equal(process_spawn(&spec, &ref, &err), PROCESS_EXEC_FAILED);
	assert_int_equal(err.errnum, ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/program"));
	spec.argv = directory;
	assert_int_equal(process_spawn(&spec, &ref, &err), PROCESS_EXEC_FAILED);
	assert_int_equal(err.errnum, EACCES);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
}

static int refuse(void *arg)
{
	return *(int *)arg;
}

static void test_failed_preparation_is_told(void **state)
{
	char *argv[] = {W("true"), NULL};
	int reason = -ENOTUNIQ;
	struct process_spec spec = {.argv = argv, .prepare = refuse, .prepare_arg = &reason};
	struct snap_error err;
	struct pidref ref;

	(void)state;
	assert_int_equal(process_spawn(&spec, &ref, &err), PROCESS_EXEC_FAILED);
	assert_int_equal(err.errnum, ENOTUNIQ);
}

static void test_descriptors_may_be_swapped(void **state)
{
	int a[2], b[2];
	char buf[64];

	(void)state;
	assert_int_equal(pipe(a), 0);
	assert_int_equal(pipe(b), 0);
	assert_int_equal(write(a[1], "from a\n", 7), 7);
	assert_int_equal(write(b[1], "from b\n", 7), 7);

	/* each source is the other's target */
	const struct process_fd fds[] = {{.from = a[0], .to = b[0]}, {.from = b[0], .to = a[0]}};
	struct process_spec spec = {.fds = fds, .n_fds = 2, .close_fds = true};
	char line[128];

	(void)snprintf(line, sizeof(line),
		       "read x <&%d; read y <&%d; echo $x, $y; set -- /proc/self/fd/*; echo $#",
		       a[0], b[0]);
	assert_int_equal(run_shell(&spec, line, buf, sizeof(buf)), 0);
	/* 0, 1, 2, the two, and the folder that is listed: everything else is closed */
	assert_string_equal(buf, "from b, from a\n6\n");
	for (int i = 0; i < 2; i++) {
		(void)fd_close(a[i]);
		(void)fd_close(b[i]);
	}
}

static void test_child_has_clean_signals_unless_told_otherwise(void **state)
{
	/* no shell: it clears its mask */
	char *argv[] = {W("grep"), W("-E"), W("^Sig(Blk|Ign)"), W("/proc/self/status"), NULL};
	sigset_t set, old, ignored, mask;
	struct process_spec spec = {.death_signal = 0};
	char buf[256];

	(void)state;
	(void)sigfillset(&set);
	(void)sigprocmask(SIG_SETMASK, &set, &old);
	(void)signal(SIGHUP, SIG_IGN);
	assert_int_equal(run_program(&spec, argv, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");

	(void)sigemptyset(&ignored);
	(void)sigaddset(&ignored, SIGUSR1);
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGUSR2);
	spec = (struct process_spec){.mask = &mask, .ignored = &ignored};
	assert_int_equal(run_program(&spec, argv, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "SigBlk:\t0000000000000800\nSigIgn:\t0000000000000200\n");
	(void)signal(SIGHUP, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
}

static void test_child_gets_an_own_session_or_group(void **state)
{
	static const char line[] = "set -- $(cat /proc/$$/stat); "
				   "[ $1 = $5 ] && echo group; [ $1 = $6 ] && echo session; true";
	struct process_spec spec = {.new_group = true};
	char buf[64];

	(void)state;
	assert_int_equal(run_shell(&spec, line, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "group\n");
	spec = (struct process_spec){.new_session = true};
	assert_int_equal(run_shell(&spec, line, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "group\nsession\n");
	spec = (struct process_spec){.new_group = false};
	assert_int_equal(run_shell(&spec, line, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
}

static void test_environment_and_path_are_as_given(void **state)
{
	char *envp[] = {W("ONLY=this"), W("PATH=/bin:/usr/bin"), NULL};
	struct process_spec spec = {.path = "/bin/sh", .envp = envp};
	char buf[256];

	(void)state;
	assert_int_equal(run_shell(&spec, "echo $0 $ONLY $HOME", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "sh this\n");
}

static void test_wait_ends_at_its_deadline(void **state)
{
	char *argv[] = {W("sleep"), W("1000"), NULL};
	struct process_spec spec = {.argv = argv};
	struct pidref ref;
	int status = 0;

	(void)state;
	assert_int_equal(process_spawn(&spec, &ref, NULL), 0);
	assert_int_equal(process_wait(&ref, deadline_after_ms(20), &status), -ETIMEDOUT);
	assert_int_equal(pidref_kill(&ref, SIGTERM), 0);
	assert_int_equal(process_wait(&ref, DEADLINE_NEVER, &status), 0);
	assert_int_equal(WTERMSIG(status), SIGTERM);
	assert_int_equal(process_wait(&ref, DEADLINE_NEVER, &status), -ECHILD);
	pidref_done(&ref);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_status_comes_back),
		cmocka_unit_test(test_failed_exec_is_told_and_leaves_no_child),
		cmocka_unit_test(test_failed_preparation_is_told),
		cmocka_unit_test(test_descriptors_may_be_swapped),
		cmocka_unit_test(test_child_has_clean_signals_unless_told_otherwise),
		cmocka_unit_test(test_child_gets_an_own_session_or_group),
		cmocka_unit_test(test_environment_and_path_are_as_given),
		cmocka_unit_test(test_wait_ends_at_its_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
