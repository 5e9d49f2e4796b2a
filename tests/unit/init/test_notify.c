/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "init/notify.h"

#include "tests/lib/test.h"

/* a socket that speaks to the address in variable ("NOTIFY_SOCKET=@name") */
static int connect_to(const char *variable)
{
	const char *name = strchr(variable, '=') + 1;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path + 1, name + 1, strlen(name) - 1);
	assert_int_equal(
		connect(fd, (struct sockaddr *)&addr,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
		0);
	return fd;
}

static int listen_at(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(addr.sun_path + 1, name + 1, strlen(name) - 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))),
			 0);
	return fd;
}

static void test_newline_means_ready(void **state)
{
	struct notify notify;

	(void)state;
	assert_int_equal(notify_init(&notify, READY_FD, NULL, NULL), 0);
	assert_int_equal(notify_read(&notify), 0);
	assert_int_equal(write(notify.engine_end, "wait", 4), 4);
	assert_int_equal(notify_read(&notify), 0);
	assert_int_equal(write(notify.engine_end, "now\n", 4), 4);
	assert_int_equal(notify_read(&notify), NOTIFY_READY);
	notify_close_engine_end(&notify);
	assert_int_equal(notify_read(&notify), NOTIFY_END);
	notify_done(&notify);
}

static void test_ready_message_is_heard_and_passed_on(void **state)
{
	struct notify notify;
	char name[64], buf[128];
	int up, engine;

	(void)state;
	(void)snprintf(name, sizeof(name), "@test-notify-%d", (int)getpid());
	up = listen_at(name);
	assert_int_equal(notify_init(&notify, READY_NOTIFY, name, NULL), 0);
	engine = connect_to(notify.variable);
	assert_int_equal(notify_read(&notify), 0);
	assert_int_equal(send(engine, "STATUS=x", 8, 0), 8);
	assert_int_equal(notify_read(&notify), 0);
	assert_int_equal(recv(up, buf, sizeof(buf), 0), 8);
	assert_int_equal(send(engine, "STATUS=y\nREADY=1", 16, 0), 16);
	assert_int_equal(send(engine, "STATUS=z", 8, 0), 8);
	assert_int_equal(notify_read(&notify), NOTIFY_READY);
	assert_int_equal(recv(up, buf, sizeof(buf), 0), 16);
	assert_memory_equal(buf, "STATUS=y\nREADY=1", 16);
	(void)fd_close(engine);
	(void)fd_close(up);
	notify_done(&notify);
}

static void test_too_long_message_is_no_message(void **state)
{
	static char big[8192];
	struct notify notify;
	int engine;

	(void)state;
	memset(big, 'x', sizeof(big));
	memcpy(big, "READY=1\n", strlen("READY=1\n")); /* NOLINT: a datagram, no string */
	assert_int_equal(notify_init(&notify, READY_NOTIFY, NULL, NULL), 0);
	engine = connect_to(notify.variable);
	assert_int_equal(send(engine, big, sizeof(big), 0), sizeof(big));
	assert_int_equal(notify_read(&notify), 0);
	(void)fd_close(engine);
	notify_done(&notify);
}

static void test_full_or_missing_upstream_does_not_block(void **state)
{
	struct notify notify;
	char name[64];
	int up;

	(void)state;
	(void)snprintf(name, sizeof(name), "@test-notify-full-%d", (int)getpid());
	up = listen_at(name);
	assert_int_equal(notify_init(&notify, READY_BY_WORKER, name, NULL), 0);
	for (int i = 0; i < 5000; i++)
		notify_tell_ready(&notify);
	(void)fd_close(up);
	notify_tell_ready(&notify);
	notify_done(&notify);

	assert_int_equal(notify_init(&notify, READY_BY_WORKER, "vsock:1:2", NULL), 0);
	assert_int_equal(notify.upstream_len, 0);
	notify_tell_ready(&notify);
	assert_int_equal(notify_read(&notify), NOTIFY_END);
	notify_done(&notify);
}

static void test_two_sockets_have_two_names(void **state)
{
	struct notify a, b;

	(void)state;
	assert_int_equal(notify_init(&a, READY_NOTIFY, NULL, NULL), 0);
	assert_int_equal(notify_init(&b, READY_NOTIFY, NULL, NULL), 0);
	assert_string_not_equal(a.variable, b.variable);
	assert_memory_equal(a.variable, "NOTIFY_SOCKET=@snapinit-", 24);
	notify_done(&a);
	notify_done(&b);
}

static void test_only_a_whole_line_counts(void **state)
{
	(void)state;
	assert_true(notify_has_line("READY=1", "READY=1"));
	assert_true(notify_has_line("A=b\nREADY=1\n", "READY=1"));
	assert_true(notify_has_line("\n\nREADY=1", "READY=1"));
	assert_false(notify_has_line("READY=10", "READY=1"));
	assert_false(notify_has_line("XREADY=1", "READY=1"));
	assert_false(notify_has_line("", "READY=1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_newline_means_ready),
		cmocka_unit_test(test_ready_message_is_heard_and_passed_on),
		cmocka_unit_test(test_too_long_message_is_no_message),
		cmocka_unit_test(test_full_or_missing_upstream_does_not_block),
		cmocka_unit_test(test_two_sockets_have_two_names),
		cmocka_unit_test(test_only_a_whole_line_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
