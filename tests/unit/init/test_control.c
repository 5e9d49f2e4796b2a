/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/log.h"
#include "init/control.h"

#include "tests/lib/test.h"

struct bench {
	char dir[32];
	char path[64];
	struct loop loop;
	struct control control;
	int answered;
	unsigned int answer_words; /* how long an answer is */
};

static void answer(void *owner, const char *verb, const char *word, struct json_writer *reply)
{
	struct bench *b = owner;

	b->answered++;
	json_put_string(reply, "verb", verb);
	json_put_string(reply, "word", word);
	for (unsigned int i = 0; i < b->answer_words; i++)
		json_put_string(reply, "more", "0123456789abcdef");
}

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	memcpy(b->dir, "/tmp/control.XXXXXX", 20);
	assert_non_null(mkdtemp(b->dir));
	(void)snprintf(b->path, sizeof(b->path), "%s/sock", b->dir);
	assert_int_equal(loop_init(&b->loop), 0);
	assert_int_equal(control_init(&b->control, &b->loop, b->path, 0, answer, b, NULL), 0);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	control_done(&b->control);
	control_done(&b->control);
	assert_int_equal(access(b->path, F_OK), -1);
	assert_int_equal(rmdir(b->dir), 0);
	loop_done(&b->loop);
	free(b);
	return 0;
}

static int connect_to(const struct bench *b)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(addr.sun_path, b->path, strlen(b->path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void turn(struct bench *b)
{
	int r;

	do {
		r = loop_run_once(&b->loop, 0);
		assert_true(r >= 0);
	} while (r > 0);
}

/* what came back, with the end of the connection seen; "" where nothing came */
static const char *ask(struct bench *b, const char *bytes, size_t n)
{
	static char text[CONTROL_REPLY_MAX + 1];
	int fd = connect_to(b);
	ssize_t got;
	char more;

	turn(b);
	if (n > 0)
		assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
	turn(b);
	got = recv(fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = '\0';
	assert_true(recv(fd, &more, 1, 0) <= 0);
	(void)close(fd);
	return text;
}

static const char *ask_text(struct bench *b, const char *text)
{
	return ask(b, text, strlen(text));
}

static void test_line_in_object_out(void **state)
{
	struct bench *b = *state;
	struct stat st;

	assert_string_equal(ask_text(b, "state\n"), "{\"verb\":\"state\",\"word\":\"\"}\n");
	assert_string_equal(ask_text(b, "log-level  debug\r\n"),
			    "{\"verb\":\"log-level\",\"word\":\"debug\"}\n");
	assert_string_equal(ask_text(b, "\n"), "{\"verb\":\"\",\"word\":\"\"}\n");
	assert_string_equal(ask_text(b, "a\nb\n"), "{\"verb\":\"a\",\"word\":\"\"}\n");
	assert_int_equal(lstat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_line_may_come_in_pieces(void **state)
{
	struct bench *b = *state;
	char text[64] = "";
	int fd = connect_to(b);

	turn(b);
	for (const char *c = "log me\n"; *c; c++) {
		assert_int_equal(b->answered, 0);
		assert_int_equal(send(fd, c, 1, MSG_NOSIGNAL), 1);
		turn(b);
	}
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_string_equal(text, "{\"verb\":\"log\",\"word\":\"me\"}\n");
	(void)close(fd);
}

static void test_what_is_no_line_is_not_answered(void **state)
{
	struct bench *b = *state;
	char bytes[2 * CONTROL_LINE_MAX];

	memset(bytes, 'a', sizeof(bytes));
	assert_string_equal(ask(b, bytes, sizeof(bytes)), "");
	assert_string_equal(ask(b, "st\0ate", 6), "");
	assert_string_equal(ask(b, "\0", 1), "");
	assert_int_equal(b->answered, 0);
}

static void test_silent_clients_keep_nobody_out(void **state)
{
	struct bench *b = *state;
	int fds[3 * CONTROL_CLIENTS_MAX];
	char byte;

	for (unsigned int i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = connect_to(b);
		turn(b);
	}
	/* the oldest were dropped, the youngest are still there */
	assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
	assert_int_equal(recv(fds[ARRAY_LEN(fds) - 1], &byte, 1, 0), -1);
	assert_string_equal(ask_text(b, "state\n"), "{\"verb\":\"state\",\"word\":\"\"}\n");
	for (unsigned int i = 0; i < ARRAY_LEN(fds); i++)
		(void)close(fds[i]);
	turn(b);
	for (unsigned int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		assert_int_equal(b->control.clients[i].fd, FD_NONE);
}

static void test_answer_that_is_too_long_says_so(void **state)
{
	struct bench *b = *state;

	b->answer_words = CONTROL_REPLY_MAX / 8;
	assert_string_equal(ask_text(b, "state\n"), "{\"error\":\"the answer is too long\"}\n");
}

static void test_only_a_stale_socket_is_replaced(void **state)
{
	struct bench *b = *state;
	struct control other;
	char path[80];
	struct snap_error err;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/file", b->dir);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	(void)close(fd);
	assert_true(control_init(&other, &b->loop, path, 0, answer, b, &err) < 0);
	assert_non_null(strstr(err.msg, path));
	control_done(&other);
	assert_int_equal(unlink(path), 0);

	/* and so does one on which somebody listens */
	assert_int_equal(control_init(&other, &b->loop, b->path, 0, answer, b, &err), -EADDRINUSE);
	control_done(&other);
	assert_string_equal(ask_text(b, "state\n"), "{\"verb\":\"state\",\"word\":\"\"}\n");

	/* that of an earlier life is replaced */
	b->control.path[0] = '\0';
	control_done(&b->control);
	assert_int_equal(access(b->path, F_OK), 0);
	assert_int_equal(control_init(&b->control, &b->loop, b->path, 0, answer, b, &err), 0);
	assert_string_equal(ask_text(b, "state\n"), "{\"verb\":\"state\",\"word\":\"\"}\n");
}

static void test_name_that_is_too_long_is_refused(void **state)
{
	struct bench *b = *state;
	struct control other;
	struct snap_error err;
	char path[200];

	memset(path, 'x', sizeof(path) - 1);
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(control_init(&other, &b->loop, path, 0, answer, b, &err), -ENAMETOOLONG);
	control_done(&other);
}

static void test_file_in_its_place_is_not_removed(void **state)
{
	struct bench *b = *state;
	int fds[CONTROL_CLIENTS_MAX + 1], fd;

	assert_int_equal(control_fds(&b->control, fds), 1);
	assert_int_equal(fds[0], b->control.fd);
	assert_int_equal(unlink(b->path), 0);
	fd = open(b->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	(void)close(fd);
	control_done(&b->control);
	assert_int_equal(unlink(b->path), 0);
}

static void test_only_an_absolute_path_will_do(void **state)
{
	static const char *const bad[] = {"", "x.sock", "./x.sock"};
	struct bench *b = *state;
	struct control other;
	struct snap_error err;

	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(control_init(&other, &b->loop, bad[i], 0, answer, b, &err),
				 -EINVAL);
		control_done(&other);
	}
}

static void test_strangers_are_not_heard(void **state)
{
	struct bench *b = *state;
	char text[128] = "";
	int fd;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(b->dir, 0711), 0);
	assert_int_equal(chmod(b->path, 0666), 0);
	/* credentials are those of the moment of connect() */
	assert_int_equal(seteuid(4711), 0);
	fd = connect_to(b);
	assert_int_equal(seteuid(0), 0);
	turn(b);
	assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "\"error\""));
	assert_int_equal(b->answered, 0);
	(void)close(fd);
}

static unsigned int refused_once(struct bench *b)
{
	char text[128] = "", log[4096];
	int fds[2], fd;
	unsigned int n = 0;
	ssize_t size;

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	log_set_fd(fds[1]);
	for (unsigned int i = 0; i < 50; i++) {
		assert_int_equal(seteuid(4711), 0);
		fd = connect_to(b);
		assert_int_equal(seteuid(0), 0);
		turn(b);
		assert_true(recv(fd, text, sizeof(text) - 1, 0) > 0);
		(void)close(fd);
	}
	log_set_fd(-1);
	size = read(fds[0], log, sizeof(log) - 1);
	log[size > 0 ? size : 0] = '\0';
	for (const char *at = log; (at = strstr(at, "\"control.refused\"")); at++)
		n++;
	if (n > 0)
		assert_non_null(strstr(log, "\"uid\":4711"));
	(void)close(fds[0]);
	(void)close(fds[1]);
	return n;
}

static void test_refusals_do_not_fill_the_log(void **state)
{
	struct bench *b = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(b->dir, 0711), 0);
	assert_int_equal(chmod(b->path, 0666), 0);
	assert_int_equal(refused_once(b), 1);
	assert_int_equal(refused_once(b), 0);
	assert_int_equal(b->control.n_refused, 99);
	/* a minute later */
	b->control.refused_quiet_until = 0;
	assert_int_equal(refused_once(b), 1);
	assert_int_equal(b->control.n_refused, 49);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_line_in_object_out),
		TEST(test_line_may_come_in_pieces),
		TEST(test_what_is_no_line_is_not_answered),
		TEST(test_silent_clients_keep_nobody_out),
		TEST(test_answer_that_is_too_long_says_so),
		TEST(test_only_a_stale_socket_is_replaced),
		TEST(test_name_that_is_too_long_is_refused),
		TEST(test_file_in_its_place_is_not_removed),
		TEST(test_only_an_absolute_path_will_do),
		TEST(test_strangers_are_not_heard),
		TEST(test_refusals_do_not_fill_the_log),
	};

	log_init("test", -1, LOG_FORMAT_JSON, LOG_LEVEL_DEBUG);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
