/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "init/pump.h"

#include "tests/lib/test.h"

/* too big for a stack */
static struct pump pump;
static struct loop loop;
static int engine;	      /* the engine's end of the pipe */
static int far_end = FD_NONE; /* of what stands outside */
static int near_end = FD_NONE;

static void make(bool outward, int inherited)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	engine = outward ? fds[1] : fds[0];
	near_end = inherited;
	assert_int_equal(fd_set_nonblock(outward ? fds[0] : fds[1], true), 0);
	assert_int_equal(loop_init(&loop), 0);
	pump_init(&pump, outward, outward ? fds[0] : fds[1], inherited);
	assert_int_equal(pump_start(&pump, &loop), 0);
}

static int done(void **state)
{
	(void)state;
	pump_done(&pump);
	pump_done(&pump);
	loop_done(&loop);
	engine = fd_close(engine);
	near_end = fd_close(near_end);
	far_end = fd_close(far_end);
	return 0;
}

/* turns until nothing happens any more */
static void run(void)
{
	for (int i = 0; i < 10000; i++) {
		int r = loop_run_once(&loop, 5);

		assert_true(r >= 0);
		if (r == 0)
			return;
	}
	fail_msg("the pump never rests");
}

static void make_outside_pipe(bool outward)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	far_end = outward ? fds[0] : fds[1];
	make(outward, outward ? fds[1] : fds[0]);
}

static void reads_far(const char *text)
{
	char buf[256];
	ssize_t n = read(far_end, buf, sizeof(buf));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

static void test_kinds_are_told_apart(void **state)
{
	int fds[2], sockets[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int tty = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	FILE *file = tmpfile();

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	assert_int_equal(pump_kind_of(fds[0]), PUMP_PIPE);
	assert_int_equal(pump_kind_of(sockets[0]), PUMP_SOCKET);
	assert_int_equal(pump_kind_of(fileno(file)), PUMP_FILE);
	assert_int_equal(pump_kind_of(tty), PUMP_TTY);
	assert_int_equal(pump_kind_of(null), PUMP_OTHER);
	(void)fclose(file);
	for (int i = 0; i < 2; i++) {
		(void)fd_close(fds[i]);
		(void)fd_close(sockets[i]);
	}
	(void)fd_close(null);
	(void)fd_close(tty);
}

static void test_small_writes_share_the_pages_of_a_pipe(void **state)
{
	int n = 0;

	(void)state;
	make_outside_pipe(true);
	for (; n < 1000; n++) {
		assert_int_equal(write(engine, "line\n", 5), 5);
		run();
	}
	/* nobody reads, and yet all of it is out */
	assert_int_equal(pump.moved, 5000);
}

static void test_pipe_of_another_user_is_spliced(void **state)
{
	(void)state;
	make_outside_pipe(true);
	loop_remove(&pump.source);
	loop_remove(&pump.sink);
	pump.reopened = fd_close(pump.reopened); /* as if it could not be opened */
	pump.loop = NULL;
	assert_int_equal(pump_start(&pump, &loop), 0);
	assert_int_equal(write(engine, "one\n", 4), 4);
	run();
	reads_far("one\n");
	for (int i = 0; i < 40; i++) {
		assert_int_equal(write(engine, "x", 1), 1);
		run();
	}
	/* sixteen slots are full */
	assert_in_range(pump.moved, 5, 43);
	while (pump.moved < 44) {
		char buf[64];

		assert_true(read(far_end, buf, sizeof(buf)) > 0);
		run();
	}
}

static void test_refused_splice_gives_way_to_polite_writing(void **state)
{
	(void)state;
	make_outside_pipe(true);
	loop_remove(&pump.source);
	loop_remove(&pump.sink);
	pump.reopened = fd_close(pump.reopened);
	pump.no_splice = true;
	pump.loop = NULL;
	assert_int_equal(pump_start(&pump, &loop), 0);
	for (int i = 0; i < 100; i++) {
		static char block[4096];

		if (fcntl(engine, F_SETFL, O_NONBLOCK) < 0 ||
		    write(engine, block, sizeof(block)) < 0)
			break;
		run();
	}
	/* both pipes are full and we are here, not blocked */
	assert_true(pump.moved >= 65536 - 4096);
}

static void test_full_sink_stops_the_flow_and_wakes_nobody(void **state)
{
	static char block[65536];
	static char buf[200000];
	ssize_t total = 0;

	(void)state;
	make_outside_pipe(true);
	assert_int_equal(fcntl(engine, F_SETFL, O_NONBLOCK), 0);
	for (int i = 0; i < 4; i++) {
		ssize_t n = write(engine, block, sizeof(block));

		total += n > 0 ? n : 0;
		run();
	}
	assert_true(total < 200000);
	assert_int_equal(loop_run_once(&loop, 20), 0);
	(void)fd_set_nonblock(far_end, true);
	for (ssize_t got = 0; got < total;) {
		ssize_t n = read(far_end, buf, sizeof(buf));

		got += n > 0 ? n : 0;
		run();
	}
	assert_int_equal(pump.moved, total);
}

static void test_gone_reader_closes_our_end_at_once(void **state)
{
	(void)state;
	make_outside_pipe(true);
	far_end = fd_close(far_end);
	run();
	assert_int_equal(pump.pipe, FD_NONE);
	assert_int_equal(write(engine, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
}

static void test_socket_keeps_its_flags(void **state)
{
	int sockets[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	far_end = sockets[1];
	make(true, sockets[0]);
	assert_int_equal(write(engine, "hello", 5), 5);
	run();
	reads_far("hello");
	assert_false(fcntl(sockets[0], F_GETFL) & O_NONBLOCK);
}

static void test_file_keeps_its_offset_and_is_appended(void **state)
{
	FILE *file = tmpfile();
	char buf[32];
	int fd;

	(void)state;
	assert_non_null(file);
	fd = fd_dup_above(fileno(file), 3);
	assert_int_equal(write(fd, "old\n", 4), 4);
	make(true, fd);
	assert_int_equal(write(engine, "new\n", 4), 4);
	run();
	assert_int_equal(pread(fd, buf, sizeof(buf), 0), 8);
	assert_memory_equal(buf, "old\nnew\n", 8);
	(void)fclose(file);
}

static void test_full_disk_loses_output_and_not_the_engine(void **state)
{
	(void)state;
	make(true, open("/dev/full", O_WRONLY | O_CLOEXEC));
	/* stands for a regular file on a full disk, which a test cannot make everywhere */
	pump.kind = PUMP_FILE;
	pump_mark_end(&pump);
	assert_int_equal(write(engine, "lost", 4), 4);
	pump_mark_end(&pump);
	assert_false(pump_is_drained(&pump));
	run();
	assert_int_equal(pump.lost, 4);
	assert_int_equal(pump.moved, 0);
	assert_true(pump.pipe >= 0);
	assert_true(pump_is_drained(&pump));
}

static void test_input_flows_until_its_end(void **state)
{
	char buf[16];

	(void)state;
	make_outside_pipe(false);
	assert_int_equal(write(far_end, "hello", 5), 5);
	run();
	assert_int_equal(read(engine, buf, sizeof(buf)), 5);
	far_end = fd_close(far_end);
	run();
	assert_int_equal(pump.pipe, FD_NONE);
	assert_int_equal(read(engine, buf, sizeof(buf)), 0);
}

static void test_input_is_not_taken_while_the_engine_does_not_read(void **state)
{
	static char block[1 << 20];
	FILE *file = tmpfile();

	(void)state;
	assert_non_null(file);
	assert_int_equal(io_write_full(fileno(file), block, sizeof(block)), 0);
	assert_int_equal(lseek(fileno(file), 0, SEEK_SET), 0);
	make(false, fd_dup_above(fileno(file), 3));
	run();
	assert_int_equal(lseek(fileno(file), 0, SEEK_CUR), 65536);
	for (ssize_t got = 0; got < (ssize_t)sizeof(block);) {
		ssize_t n = read(engine, block, sizeof(block));

		assert_true(n > 0);
		got += n;
		run();
	}
	assert_int_equal(pump.moved, sizeof(block));
	assert_int_equal(pump.pipe, FD_NONE);
	(void)fclose(file);
}

static void test_engine_that_closes_its_input_ends_the_pump(void **state)
{
	(void)state;
	make_outside_pipe(false);
	engine = fd_close(engine);
	run();
	assert_int_equal(pump.pipe, FD_NONE);
}

static void test_drain_counts_what_was_written_before_the_end(void **state)
{
	(void)state;
	make_outside_pipe(true);
	assert_int_equal(write(engine, "before", 6), 6);
	pump_mark_end(&pump);
	assert_false(pump_is_drained(&pump));
	run();
	assert_true(pump_is_drained(&pump));
	/* a survivor's output is not waited for */
	assert_int_equal(write(engine, "after", 5), 5);
	assert_true(pump_is_drained(&pump));
}

static void test_second_pipe_after_the_first(void **state)
{
	int fds[2];

	(void)state;
	make_outside_pipe(true);
	engine = fd_close(engine);
	run();
	assert_int_equal(pump.pipe, FD_NONE);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	(void)fd_set_nonblock(fds[0], true);
	engine = fds[1];
	pump_set_pipe(&pump, fds[0]);
	assert_int_equal(pump_start(&pump, &loop), 0);
	assert_int_equal(write(engine, "again", 5), 5);
	run();
	reads_far("again");
}

#define CASE(test) cmocka_unit_test_teardown(test, done)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds_are_told_apart),
		CASE(test_small_writes_share_the_pages_of_a_pipe),
		CASE(test_pipe_of_another_user_is_spliced),
		CASE(test_refused_splice_gives_way_to_polite_writing),
		CASE(test_full_sink_stops_the_flow_and_wakes_nobody),
		CASE(test_gone_reader_closes_our_end_at_once),
		CASE(test_socket_keeps_its_flags),
		CASE(test_file_keeps_its_offset_and_is_appended),
		CASE(test_full_disk_loses_output_and_not_the_engine),
		CASE(test_input_flows_until_its_end),
		CASE(test_input_is_not_taken_while_the_engine_does_not_read),
		CASE(test_engine_that_closes_its_input_ends_the_pump),
		CASE(test_drain_counts_what_was_written_before_the_end),
		CASE(test_second_pipe_after_the_first),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
