/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"

#include "tests/lib/test.h"

static int open_null(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* run in a child, because it plays with descriptors 0 to 2; its exit status */
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

static void test_close_empties_its_owner_and_keeps_errno(void **state)
{
	int fd = open_null(), number = fd;

	(void)state;
	errno = ENOTTY;
	fd = fd_close(fd);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(fd, FD_NONE);
	assert_false(is_open(number));
	errno = ENOTTY;
	fd = fd_close(fd);
	assert_int_equal(fd, FD_NONE);
	assert_int_equal(errno, ENOTTY);
}

static int close_at_the_end_of_scope(void)
{
	snap_cleanup_close int fd = open_null();

	return fd;
}

static int take_out_of_the_scope(void)
{
	snap_cleanup_close int fd = open_null();

	return TAKE_FD(fd);
}

static void test_cleanup_closes_and_take_moves_on(void **state)
{
	int fd;

	(void)state;
	assert_false(is_open(close_at_the_end_of_scope()));
	fd = take_out_of_the_scope();
	assert_true(is_open(fd));
	(void)fd_close(fd);
}

static int fill_in_child(void)
{
	int mask;

	(void)close(0);
	(void)close(2);
	mask = fd_fill_stdio();
	if (!is_open(0) || !is_open(1) || !is_open(2))
		return 100;
	if ((fcntl(0, F_GETFL) & O_ACCMODE) != O_RDONLY ||
	    (fcntl(2, F_GETFL) & O_ACCMODE) != O_WRONLY)
		return 101;
	return mask;
}

static void test_closed_stdio_is_filled_with_dev_null(void **state)
{
	(void)state;
	assert_int_equal(in_child(fill_in_child), 1 << 0 | 1 << 2);
	assert_int_equal(fd_fill_stdio(), 0);
}

static void test_dup_above_is_above_and_close_on_exec(void **state)
{
	snap_cleanup_close int fd = open_null();
	snap_cleanup_close int copy = fd_dup_above(fd, 100);

	(void)state;
	assert_true(copy >= 100);
	assert_true(fd_is_cloexec(copy));
	assert_int_equal(fd_dup_above(-1, 3), -EBADF);
}

static void test_flags_go_on_and_off(void **state)
{
	snap_cleanup_close int fd = open_null();

	(void)state;
	assert_int_equal(fd_set_cloexec(fd, false), 0);
	assert_false(fd_is_cloexec(fd));
	assert_int_equal(fd_set_cloexec(fd, true), 0);
	assert_true(fd_is_cloexec(fd));
	assert_int_equal(fd_set_nonblock(fd, true), 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_set_nonblock(fd, false), 0);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_set_cloexec(-1, true), -EBADF);
	assert_int_equal(fd_set_nonblock(-1, true), -EBADF);
	assert_false(fd_is_cloexec(-1));
}

static int close_some(void)
{
	const int keep[] = {12, 10, 11, 20};

	for (int fd = 10; fd <= 21; fd++)
		(void)dup2(2, fd);
	if (fd_close_from_except(10, keep, 4) != 0)
		return 100;
	for (int fd = 10; fd <= 21; fd++) {
		bool kept = fd == 10 || fd == 11 || fd == 12 || fd == 20;

		if (is_open(fd) != kept)
			return fd;
	}
	return is_open(2) ? 0 : 2;
}

static int close_all_but_zero(void)
{
	const int keep[] = {0};

	(void)dup2(2, 10);
	if (fd_close_from_except(0, keep, 1) != 0)
		return 100;
	return is_open(0) && !is_open(1) && !is_open(10) ? 0 : 1;
}

static void test_close_from_spares_what_is_kept(void **state)
{
	(void)state;
	assert_int_equal(in_child(close_some), 0);
}

static void test_close_from_can_keep_descriptor_zero(void **state)
{
	(void)state;
	assert_int_equal(in_child(close_all_but_zero), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_close_empties_its_owner_and_keeps_errno),
		cmocka_unit_test(test_cleanup_closes_and_take_moves_on),
		cmocka_unit_test(test_closed_stdio_is_filled_with_dev_null),
		cmocka_unit_test(test_dup_above_is_above_and_close_on_exec),
		cmocka_unit_test(test_flags_go_on_and_off),
		cmocka_unit_test(test_close_from_spares_what_is_kept),
		cmocka_unit_test(test_close_from_can_keep_descriptor_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
