/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "init/stdio.h"

#include "tests/lib/test.h"

static struct stdio stdio;
static struct loop loop;
static int saved[3], inner[3], outer[3]; /* inner: what stands at 0 to 2; outer: its far end */

/* pipes at 0 to 2 while a test runs */
static int begin(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		int fds[2];

		saved[i] = fd_dup_above(i, 20);
		if (pipe2(fds, O_CLOEXEC) < 0)
			return -1;
		inner[i] = fd_dup_above(i == 0 ? fds[0] : fds[1], 30);
		outer[i] = fd_dup_above(i == 0 ? fds[1] : fds[0], 40);
		(void)close(fds[0]);
		(void)close(fds[1]);
	}
	for (int i = 0; i < 3; i++) {
		(void)dup2(inner[i], i);
		(void)close(inner[i]);
	}
	return loop_init(&loop);
}

static int end(void **state)
{
	(void)state;
	stdio_done(&stdio);
	stdio_done(&stdio);
	loop_done(&loop);
	for (int i = 0; i < 3; i++) {
		(void)dup2(saved[i], i);
		(void)close(saved[i]);
		(void)fd_close(outer[i]);
	}
	return 0;
}

static void run(void)
{
	while (loop_run_once(&loop, 5) > 0)
		;
}

static ino_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void reads(int fd, const char *text)
{
	char buf[64];
	ssize_t n = read(fd, buf, sizeof(buf));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static void test_output_flows_before_input_does(void **state)
{
	(void)state;
	assert_int_equal(stdio_init(&stdio, &loop, NULL), 0);
	assert_int_equal(stdio_open_ends(&stdio, NULL), 0);
	assert_int_equal(write(outer[0], "in", 2), 2);
	assert_int_equal(write(stdio.ends[1], "out", 3), 3);
	assert_int_equal(write(stdio.ends[2], "err", 3), 3);
	run();
	reads(outer[1], "out");
	reads(outer[2], "err");
	/* a wake that fails must not have eaten the input */
	assert_int_equal(stdio.pumps[0].moved, 0);
	int engine_in = dup(stdio.ends[0]);
	stdio_close_ends(&stdio);
	run();
	reads(engine_in, "in");
	(void)close(engine_in);
}

static void test_second_start_has_the_same_pipes_with_fresh_flags(void **state)
{
	int first_out;

	(void)state;
	assert_int_equal(stdio_init(&stdio, &loop, NULL), 0);
	assert_int_equal(stdio_open_ends(&stdio, NULL), 0);
	first_out = dup(stdio.ends[1]);
	assert_int_equal(fd_set_nonblock(first_out, true), 0);
	assert_int_equal(write(first_out, "half", 4), 4); /* a wake that failed then */
	assert_int_equal(stdio_open_ends(&stdio, NULL), 0);
	assert_int_equal(inode(first_out), inode(stdio.ends[1]));
	assert_false(fcntl(stdio.ends[1], F_GETFL) & O_NONBLOCK);
	assert_int_equal(fcntl(stdio.ends[1], F_GETFL) & O_ACCMODE, O_WRONLY);
	assert_int_equal(fcntl(stdio.ends[0], F_GETFL) & O_ACCMODE, O_RDONLY);
	(void)close(first_out);
	run();
	reads(outer[1], "half");
}

static void test_start_after_the_end_has_new_pipes(void **state)
{
	ino_t old;

	(void)state;
	assert_int_equal(stdio_init(&stdio, &loop, NULL), 0);
	assert_int_equal(stdio_open_ends(&stdio, NULL), 0);
	old = inode(stdio.ends[1]);
	stdio_close_ends(&stdio); /* and the engine is gone */
	run();
	assert_int_equal(stdio.pumps[1].pipe, FD_NONE);
	assert_int_equal(stdio_open_ends(&stdio, NULL), 0);
	assert_int_not_equal(inode(stdio.ends[1]), old);
	assert_int_equal(inode(stdio.ends[1]), inode(stdio.names[1]));
	assert_int_equal(write(stdio.ends[1], "new", 3), 3);
	run();
	reads(outer[1], "new");
}

static void test_names_do_not_hold_a_pipe_open(void **state)
{
	char c;
	int engine_in;

	(void)state;
	assert_int_equal(stdio_init(&stdio, &loop, NULL), 0);
	assert_int_equal(stdio_open_ends(&stdio, NULL), 0);
	for (int i = 0; i < STDIO_N; i++)
		assert_int_equal(inode(stdio.names[i]), inode(stdio.ends[i]));
	engine_in = dup(stdio.ends[0]);
	stdio_close_ends(&stdio);
	outer[0] = fd_close(outer[0]);
	run();
	assert_int_equal(read(engine_in, &c, 1), 0);
	assert_true(fcntl(stdio.names[0], F_GETFL) & O_PATH);
	(void)close(engine_in);
}

static void test_drain_waits_for_both_outputs(void **state)
{
	uint64_t before;

	(void)state;
	assert_int_equal(stdio_init(&stdio, &loop, NULL), 0);
	assert_int_equal(stdio_open_ends(&stdio, NULL), 0);
	assert_int_equal(write(stdio.ends[2], "last", 4), 4);
	stdio_mark_end(&stdio);
	before = stdio_moved(&stdio);
	assert_false(stdio_is_drained(&stdio));
	run();
	assert_true(stdio_is_drained(&stdio));
	assert_int_equal(stdio_moved(&stdio), before + 4);
}

static void test_plain_mode_does_nothing(void **state)
{
	(void)state;
	memset(&stdio, 0, sizeof(stdio));
	assert_int_equal(stdio_open_ends(&stdio, NULL), 0);
	stdio_close_ends(&stdio);
	stdio_mark_end(&stdio);
	assert_true(stdio_is_drained(&stdio));
	assert_int_equal(stdio_moved(&stdio), 0);
}

static void test_log_never_blocks_and_leaves_descriptor_2_alone(void **state)
{
	int fd = stdio_open_log();

	(void)state;
	assert_true(fd > 2);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_false(fcntl(2, F_GETFL) & O_NONBLOCK);
	assert_int_equal(inode(fd), inode(2));
	(void)fd_close(fd);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_output_flows_before_input_does),
		CASE(test_second_start_has_the_same_pipes_with_fresh_flags),
		CASE(test_start_after_the_end_has_new_pipes),
		CASE(test_names_do_not_hold_a_pipe_open),
		CASE(test_drain_waits_for_both_outputs),
		CASE(test_plain_mode_does_nothing),
		CASE(test_log_never_blocks_and_leaves_descriptor_2_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
