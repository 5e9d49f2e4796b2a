/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "init/worker.h"

#include "tests/lib/test.h"

#define W(text) ((char *)(uintptr_t)(text))

static char *engine_argv[] = {W("llama-server"), W("--port"), W("80"), NULL};

static struct init_options options(const char *program)
{
	return (struct init_options){.snapshot = "/store", .worker = program, .argv = engine_argv};
}

static void says(const struct worker *worker, const char *const *words)
{
	int i = 0;

	for (; words[i]; i++) {
		assert_non_null(worker->argv[i]);
		assert_string_equal(worker->argv[i], words[i]);
	}
	assert_null(worker->argv[i]);
}

static void test_command_line_of_each_job(void **state)
{
	struct init_options o = options("/w");
	struct worker worker;

	(void)state;
	o.generation = "gen-3";
	o.ready = "fd";
	o.wake_timeout_ms = 1500;
	o.include = (struct option_list){.items = {"/a", "/b"}, .n = 2};
	o.capture = CAPTURE_EXIT;
	assert_int_equal(worker_init(&worker, &o, NULL), 0);
	worker_make_argv(&worker, WORKER_WAKE, 0);
	says(&worker,
	     (const char *const[]){"/w", "wake", "--store", "/store", "--timeout", "1500ms",
				   "--generation", "gen-3", "--ready", "fd", "--include", "/a",
				   "--include", "/b", "--", "llama-server", "--port", "80", NULL});
	worker_make_argv(&worker, WORKER_CAPTURE, 1000);
	says(&worker, (const char *const[]){
			      "/w",	 "capture", "--store",	    "/store",	    "--pid",
			      "1000",	 "--mode",  "exit",	    "--generation", "gen-3",
			      "--ready", "fd",	    "--include",    "/a",	    "--include",
			      "/b",	 "--",	    "llama-server", "--port",	    "80",
			      NULL});
	worker_make_argv(&worker, WORKER_PROBE, 1000);
	says(&worker, (const char *const[]){"/w", "probe", "--store", "/store", "--pid", "1000",
					    "--ready", "fd", "--include", "/a", "--include", "/b",
					    "--", "llama-server", "--port", "80", NULL});
	worker.suspend_ms = 172000;
	worker_make_argv(&worker, WORKER_SUSPEND, 1);
	says(&worker,
	     (const char *const[]){"/w", "suspend", "--store", "/store", "--pid", "1", "--timeout",
				   "172000ms", "--ready", "fd", "--include", "/a", "--include",
				   "/b", "--", "llama-server", "--port", "80", NULL});
	worker_done(&worker);
}

static void test_longest_command_line_fits(void **state)
{
	struct init_options o = options("/w");
	struct worker worker;
	unsigned int n = 0;

	(void)state;
	o.generation = o.engine = o.ready = o.ready_timeout = o.oracle = o.release = o.reclaim =
		o.warmup = o.criu = "x";
	o.log_level_word = o.log_format_word = "x";
	o.wake_timeout_ms = UINT64_MAX;
	for (unsigned int i = 0; i < OPTION_LIST_MAX; i++)
		o.include.items[i] = o.accept.items[i] = "y";
	o.include.n = o.accept.n = OPTION_LIST_MAX;
	assert_int_equal(worker_init(&worker, &o, NULL), 0);
	worker_make_argv(&worker, WORKER_CAPTURE, 0x7fffffff);
	while (worker.argv[n])
		n++;
	assert_true(n > 4 * OPTION_LIST_MAX);
	assert_string_equal(worker.argv[n - 1], "80");
	worker_done(&worker);
}

static void test_missing_program_is_told_and_leaves_nothing(void **state)
{
	struct init_options o = options("/nonexistent/snapworker");
	struct worker worker;
	struct snap_error err;

	(void)state;
	assert_int_equal(worker_init(&worker, &o, NULL), 0);
	assert_int_equal(worker_start(&worker, WORKER_PROBE, 1, NULL, &err), -ENOENT);
	assert_int_equal(err.code, SNAP_E_PREFLIGHT);
	assert_non_null(strstr(err.msg, "/nonexistent/snapworker"));
	assert_false(worker_is_active(&worker));
	assert_int_equal(worker.fd, FD_NONE);
	assert_int_equal(worker_send(&worker, WORKER_MSG_GO, 1), -ENOTCONN);
	worker_done(&worker);
}

static int reap(struct worker *worker)
{
	int status = -1;

	assert_int_equal(waitpid(worker->ref.pid, &status, 0), worker->ref.pid);
	worker_forget(worker);
	return status;
}

static void test_end_of_a_worker_is_the_end_of_its_socket(void **state)
{
	struct init_options o = options("/bin/false");
	struct worker worker;
	struct worker_msg msg;
	int kept[WORKER_KEPT_MAX_];
	int status;

	(void)state;
	assert_int_equal(worker_init(&worker, &o, NULL), 0);
	assert_int_equal(worker_start(&worker, WORKER_PROBE, 1, NULL, NULL), 0);
	assert_true(worker_is_active(&worker));
	assert_true(worker.since > 0);
	assert_int_equal(waitpid(worker.ref.pid, &status, 0), worker.ref.pid);
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_int_equal(worker_recv(&worker, &msg, kept), 1);
	worker_forget(&worker);
	assert_false(worker_is_active(&worker));
	assert_int_equal(worker_recv(&worker, &msg, kept), -EAGAIN);
	worker_done(&worker);
}

/* a program that ignores its command line and stays */
static const char *make_stayer(void)
{
	static char path[] = "/tmp/test_worker.XXXXXX";
	static const char text[] = "#!/bin/sh\nexec sleep 1000\n";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	assert_int_equal(fchmod(fd, 0700), 0);
	assert_int_equal(close(fd), 0);
	return path;
}

static void test_worker_is_killed_retired_and_replaced(void **state)
{
	struct init_options o = options(make_stayer());
	struct worker worker;
	struct worker_msg msg;
	int kept[WORKER_KEPT_MAX_];
	pid_t first;

	(void)state;
	assert_int_equal(worker_init(&worker, &o, NULL), 0);
	assert_int_equal(worker_start(&worker, WORKER_PROBE, 1, NULL, NULL), 0);
	assert_int_equal(getsid(worker.ref.pid), worker.ref.pid);
	assert_int_equal(worker_recv(&worker, &msg, kept), -EAGAIN);
	assert_int_equal(worker_send(&worker, WORKER_MSG_GO, 1), 0);

	worker_retire(&worker, 60000);
	assert_false(worker_is_active(&worker));
	assert_int_equal(worker.fd, FD_NONE);
	assert_in_range(deadline_left_ms(worker.kill_at), 59000, 60000);
	first = worker.ref.pid;

	/* the next one does not wait for it */
	assert_int_equal(worker_start(&worker, WORKER_PROBE, 1, NULL, NULL), 0);
	assert_true(worker_is_active(&worker));
	assert_int_not_equal(worker.ref.pid, first);
	assert_int_equal(waitpid(first, NULL, 0), first);
	worker_kill(&worker);
	assert_false(worker_is_active(&worker));
	assert_int_equal(WTERMSIG(reap(&worker)), SIGKILL);
	worker_kill(&worker); /* nobody is there */
	worker_done(&worker);
	(void)unlink(o.worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_command_line_of_each_job),
		cmocka_unit_test(test_longest_command_line_fits),
		cmocka_unit_test(test_missing_program_is_told_and_leaves_nothing),
		cmocka_unit_test(test_end_of_a_worker_is_the_end_of_its_socket),
		cmocka_unit_test(test_worker_is_killed_retired_and_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
