/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "engine/probe.h"

#include "tests/lib/test.h"
#include "tests/unit/engine/scripted_server.h"

static int probe_status(int status, struct snap_error *err)
{
	struct engine_request request = {.method = "GET", .host = "127.0.0.1", .path = "/h"};
	struct scripted_server server;
	char text[128];
	const struct scripted_answer answer = {.text = text};
	int r;

	(void)snprintf(text, sizeof(text), "HTTP/1.1 %d x\r\nContent-Length: 7\r\n\r\nloa\nded",
		       status);
	scripted_server_start(&server, &answer, 1);
	request.port = server.port;
	r = probe_http(&request, NULL, deadline_after_ms(2000), err);
	scripted_server_stop(&server);
	return r;
}

static void test_http_status_decides(void **state)
{
	struct snap_error err = {0};

	(void)state;
	assert_int_equal(probe_status(200, NULL), 0);
	assert_int_equal(probe_status(204, NULL), 0);
	assert_int_equal(probe_status(302, NULL), 0);
	assert_int_equal(probe_status(400, NULL), PROBE_NOT_YET);
	assert_int_equal(probe_status(503, &err), PROBE_NOT_YET);
	assert_non_null(strstr(err.msg, "/h: status 503: loa ded"));
}

static void test_address_that_is_none_is_hopeless(void **state)
{
	struct engine_request request = {
		.method = "GET", .host = "nowhere", .port = 80, .path = "/"};

	(void)state;
	assert_int_equal(probe_http(&request, NULL, deadline_after_ms(100), NULL), -EINVAL);
	assert_int_equal(probe_tcp("nowhere", 80, deadline_after_ms(100), NULL), -EINVAL);
}

static void test_tcp_is_ready_when_it_accepts(void **state)
{
	static const struct scripted_answer answer = {.text = ""};
	struct scripted_server server;
	struct snap_error err = {0};
	snap_cleanup_close int holder = FD_NONE;
	int port = scripted_server_dead_port(&holder);

	(void)state;
	scripted_server_start(&server, &answer, 1);
	assert_int_equal(probe_tcp("localhost", server.port, deadline_after_ms(1000), NULL), 0);
	scripted_server_stop(&server);
	assert_int_equal(probe_tcp("127.0.0.1", port, deadline_after_ms(1000), &err),
			 PROBE_NOT_YET);
	assert_non_null(strstr(err.msg, "tcp:127.0.0.1:"));
	assert_non_null(strstr(err.msg, "Connection refused"));
}

static void test_exit_status_of_a_command_decides(void **state)
{
	struct snap_error err = {0};

	(void)state;
	assert_int_equal(probe_exec("test -d / && true", deadline_after_ms(2000), NULL), 0);
	assert_int_equal(probe_exec("exit 7", deadline_after_ms(2000), &err), PROBE_NOT_YET);
	assert_string_equal(err.msg, "exec:exit 7: exit status 7");
	assert_int_equal(probe_exec("no-such-program-here", deadline_after_ms(2000), &err),
			 PROBE_NOT_YET);
	assert_non_null(strstr(err.msg, "command not found?"));
	assert_int_equal(probe_exec("kill -TERM $$", deadline_after_ms(2000), &err), PROBE_NOT_YET);
	assert_non_null(strstr(err.msg, "killed by signal 15"));
}

static void test_command_that_hangs_is_killed_with_its_children(void **state)
{
	char path[] = "/tmp/snap-probe-XXXXXX", command[256], pid_text[32] = "";
	snap_cleanup_close int fd = mkstemp(path);
	struct snap_error err = {0};
	uint64_t start_ns = clock_now_ns();
	ssize_t n;

	(void)state;
	assert_true(fd >= 0);
	(void)snprintf(command, sizeof(command), "sleep 60 & echo $! > %s; wait", path);
	assert_int_equal(probe_exec(command, deadline_after_ms(300), &err), PROBE_NOT_YET);
	assert_true(clock_now_ns() - start_ns < 2 * NS_PER_S);
	assert_non_null(strstr(err.msg, "did not end"));
	n = read(fd, pid_text, sizeof(pid_text) - 1);
	assert_true(n > 0);
	pid_text[strcspn(pid_text, "\n")] = '\0';
	/* gone, or a zombie of the process that inherited it */
	(void)snprintf(command, sizeof(command),
		       "for i in 1 2 3 4 5 6 7 8 9; do grep -sq 'State:.[^Z]' /proc/%s/status || "
		       "exit 0; sleep 0.1; done; exit 1",
		       pid_text);
	assert_int_equal(probe_exec(command, deadline_after_ms(3000), NULL), 0);
	assert_int_equal(unlink(path), 0);
}

static void test_command_gets_no_descriptor_of_ours(void **state)
{
	snap_cleanup_close int fd = dup(0); /* not close-on-exec, as a careless library does it */

	(void)state;
	assert_true(fd > 2);
	assert_int_equal(probe_exec("for f in /proc/self/fd/*; do case $f in */[012]) ;; "
				    "*) test -e $f && exit 1 ;; esac; done; exit 0",
				    deadline_after_ms(2000), NULL),
			 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_http_status_decides),
		cmocka_unit_test(test_address_that_is_none_is_hopeless),
		cmocka_unit_test(test_tcp_is_ready_when_it_accepts),
		cmocka_unit_test(test_exit_status_of_a_command_decides),
		cmocka_unit_test(test_command_that_hangs_is_killed_with_its_children),
		cmocka_unit_test(test_command_gets_no_descriptor_of_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
