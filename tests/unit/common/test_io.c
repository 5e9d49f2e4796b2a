/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"

#include "tests/lib/test.h"

static char folder[] = "/tmp/test_io.XXXXXX";
static int dir_fd = FD_NONE;

static int make_folder(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	dir_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
	static const char *const names[] = {"f", "g", "link"};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(names); i++)
		(void)unlinkat(dir_fd, names[i], 0);
	dir_fd = fd_close(dir_fd);
	return rmdir(folder); /* fails if a temporary was left behind */
}

static void put(const char *name, const void *data, size_t size)
{
	snap_cleanup_close int fd =
		openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, data, size), 0);
}

static void test_read_full_gathers_what_comes_in_pieces(void **state)
{
	int fds[2];
	char buf[100];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 3; i++) {
			(void)usleep(5000);
			if (write(fds[1], "abc", 3) != 3)
				_exit(1);
		}
		_exit(0);
	}
	(void)fd_close(fds[1]);
	assert_int_equal(io_read_full(fds[0], buf, sizeof(buf)), 9);
	assert_memory_equal(buf, "abcabcabc", 9);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)fd_close(fds[0]);
	assert_int_equal(io_read_full(-1, buf, 1), -EBADF);
	assert_int_equal(io_write_full(-1, buf, 1), -EBADF);
}

static void test_read_file_takes_any_size_up_to_its_limit(void **state)
{
	static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 8192, 20000};
	static char data[20000];

	(void)state;
	memset(data, 'x', sizeof(data));
	for (unsigned int i = 0; i < ARRAY_LEN(sizes); i++) {
		snap_cleanup_free char *buf = NULL;
		struct snap_error err;
		size_t size;

		put("f", data, sizes[i]);
		assert_int_equal(io_read_file(dir_fd, "f", sizes[i], &buf, &size, &err), 0);
		assert_int_equal(size, sizes[i]);
		assert_int_equal(buf[size], '\0');
		if (sizes[i] > 0) {
			char *none = NULL;

			assert_int_equal(
				io_read_file(dir_fd, "f", sizes[i] - 1, &none, &size, &err),
				-EFBIG);
			assert_null(none);
		}
	}
}

static void test_read_file_reads_proc_too(void **state)
{
	snap_cleanup_free char *buf = NULL;
	size_t size;

	(void)state;
	assert_int_equal(io_read_file(AT_FDCWD, "/proc/self/status", 1 << 20, &buf, &size, NULL),
			 0);
	assert_non_null(strstr(buf, "Pid:"));
}

static void test_symbolic_link_is_not_followed(void **state)
{
	char *buf = NULL;
	struct snap_error err;
	size_t size;

	(void)state;
	put("f", "x", 1);
	assert_int_equal(symlinkat("f", dir_fd, "link"), 0);
	assert_int_equal(io_read_file(dir_fd, "link", 10, &buf, &size, &err), -ELOOP);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_non_null(strstr(err.msg, "link"));
	assert_int_equal(io_read_file(dir_fd, "gone", 10, &buf, &size, &err), -ENOENT);
}

static void test_read_line_drops_the_newline(void **state)
{
	char buf[8];

	(void)state;
	put("f", "12\n", 3);
	assert_int_equal(io_read_line(dir_fd, "f", buf, sizeof(buf)), 2);
	assert_string_equal(buf, "12");
	put("f", "0123456789", 10);
	assert_int_equal(io_read_line(dir_fd, "f", buf, sizeof(buf)), 7);
	assert_string_equal(buf, "0123456");
	assert_int_equal(io_read_line(dir_fd, "gone", buf, sizeof(buf)), -ENOENT);
}

static void test_replaced_file_is_new_and_has_its_mode(void **state)
{
	snap_cleanup_free char *buf = NULL;
	struct stat st;
	size_t size;

	(void)state;
	put("f", "old", 3);
	assert_int_equal(io_replace_file(dir_fd, "f", "newer", 5, 0640, NULL), 0);
	assert_int_equal(io_read_file(dir_fd, "f", 100, &buf, &size, NULL), 0);
	assert_string_equal(buf, "newer");
	assert_int_equal(fstatat(dir_fd, "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
}

static void test_file_that_cannot_be_replaced_stays(void **state)
{
	snap_cleanup_free char *buf = NULL;
	struct snap_error err;
	size_t size;

	(void)state;
	assert_int_equal(io_replace_file(dir_fd, "no/such/folder", "x", 1, 0600, &err), -ENOENT);
	assert_int_equal(mkdirat(dir_fd, "g", 0700), 0);
	assert_int_equal(io_replace_file(dir_fd, "g", "x", 1, 0600, &err), -EISDIR);
	assert_int_equal(unlinkat(dir_fd, "g", AT_REMOVEDIR), 0);
	put("f", "old", 3);
	assert_int_equal(io_read_file(dir_fd, "f", 100, &buf, &size, NULL), 0);
	assert_string_equal(buf, "old");
}

static void copy_and_compare(int from, const char *wanted, size_t wanted_size, uint64_t size)
{
	snap_cleanup_free char *buf = NULL;
	size_t got;

	put("g", "", 0);
	snap_cleanup_close int to = openat(dir_fd, "g", O_WRONLY | O_CLOEXEC);
	assert_true(to >= 0);
	assert_int_equal(io_copy_fd(from, to, size, NULL), 0);
	assert_int_equal(io_read_file(dir_fd, "g", 1 << 24, &buf, &got, NULL), 0);
	assert_int_equal(got, wanted_size);
	assert_memory_equal(buf, wanted, wanted_size);
}

static void test_copy_takes_all_or_as_much_as_said(void **state)
{
	const size_t size = (3 << 20) + 17;
	snap_cleanup_free char *data = malloc(size);
	snap_cleanup_close int from = FD_NONE;

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < size; i++)
		data[i] = (char)(i * 7 + (i >> 12));
	put("f", data, size);
	from = openat(dir_fd, "f", O_RDONLY | O_CLOEXEC);
	copy_and_compare(from, data, size, UINT64_MAX);
	assert_int_equal(lseek(from, 0, SEEK_SET), 0);
	copy_and_compare(from, data, 12345, 12345);
}

static void test_copy_reads_pipes_by_hand(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "hello", 5), 5);
	(void)fd_close(fds[1]);
	copy_and_compare(fds[0], "hello", 5, UINT64_MAX);
	(void)fd_close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_full_gathers_what_comes_in_pieces),
		cmocka_unit_test(test_read_file_takes_any_size_up_to_its_limit),
		cmocka_unit_test(test_read_file_reads_proc_too),
		cmocka_unit_test(test_symbolic_link_is_not_followed),
		cmocka_unit_test(test_read_line_drops_the_newline),
		cmocka_unit_test(test_replaced_file_is_new_and_has_its_mode),
		cmocka_unit_test(test_file_that_cannot_be_replaced_stays),
		cmocka_unit_test(test_copy_takes_all_or_as_much_as_said),
		cmocka_unit_test(test_copy_reads_pipes_by_hand),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
