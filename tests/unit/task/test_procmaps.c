/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/task/procmaps.h"

#include "tests/lib/test.h"

#define PREFIX "7f0000001000-7f0000003000 r-xp 00002000 fe:01 1234 "

static int parse(const char *text, struct proc_map *ret)
{
	static char line[PROCMAPS_LINE_MAX];

	assert_true(strlen(text) < sizeof(line));
	strcpy(line, text);
	return proc_map_parse(line, strlen(line), ret);
}

/* a file of the given bytes to read maps from */
static int memory_file(const char *text, size_t size)
{
	int fd = memfd_create("maps", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, size), (ssize_t)size);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void test_every_column_is_read(void **state)
{
	struct proc_map map;

	(void)state;
	assert_int_equal(parse(PREFIX "                      /usr/lib/x.so", &map), 0);
	assert_int_equal(map.start, 0x7f0000001000ULL);
	assert_int_equal(map.end, 0x7f0000003000ULL);
	assert_int_equal(map.prot, PROT_READ | PROT_EXEC);
	assert_false(map.shared);
	assert_false(map.deleted);
	assert_int_equal(map.offset, 0x2000);
	assert_int_equal(major(map.dev), 0xfe);
	assert_int_equal(minor(map.dev), 1);
	assert_int_equal(map.inode, 1234);
	assert_string_equal(map.path, "/usr/lib/x.so");
}

static void test_anonymous_memory_has_an_empty_path(void **state)
{
	struct proc_map map;

	(void)state;
	assert_int_equal(parse("1000-2000 rw-p 00000000 00:00 0 ", &map), 0);
	assert_string_equal(map.path, "");
	assert_int_equal(parse("1000-2000 ---s 00000000 00:00 0", &map), 0);
	assert_string_equal(map.path, "");
	assert_true(map.shared);
	assert_int_equal(map.prot, 0);
}

static void test_blanks_inside_a_path_stay(void **state)
{
	struct proc_map map;

	(void)state;
	assert_int_equal(parse(PREFIX "/a b  c", &map), 0);
	assert_string_equal(map.path, "/a b  c");
}

static void test_escaped_newline_becomes_a_newline(void **state)
{
	struct proc_map map;

	(void)state;
	assert_int_equal(parse(PREFIX "/a\\012b\\012", &map), 0);
	assert_string_equal(map.path, "/a\nb\n");
}

static void test_deleted_mark_leaves_the_path(void **state)
{
	struct proc_map map;

	(void)state;
	assert_int_equal(parse(PREFIX "/memfd:x y (deleted)", &map), 0);
	assert_true(map.deleted);
	assert_string_equal(map.path, "/memfd:x y");
	assert_int_equal(parse(PREFIX "/x (deleted) y", &map), 0);
	assert_false(map.deleted);
	assert_string_equal(map.path, "/x (deleted) y");
}

static void test_malformed_lines_are_refused(void **state)
{
	static const char *const lines[] = {
		"",
		"1000",
		"1000-2000",
		"2000-1000 rw-p 00000000 00:00 0 ",
		"1000-1000 rw-p 00000000 00:00 0 ",
		"-2000 rw-p 00000000 00:00 0 ",
		"1000-2000 rwxq 00000000 00:00 0 ",
		"1000-2000 wr-p 00000000 00:00 0 ",
		"1000-2000 rw",
		"1000-2000 rw-p 00000000 00:00",
		"1000-2000 rw-p 00000000 00:00 x",
		"1000-2000 rw-p 00000000 0000 0 ",
		"1000-2000 rw-p 00000000 100000000:00 0 ",
		"10000000000000000-20000000000000000 rw-p 00000000 00:00 0 ",
		"1000-2000 rw-p 00000000 00:00 99999999999999999999 ",
	};
	struct proc_map map;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++)
		assert_int_equal(parse(lines[i], &map), -EPROTO);
}

static void test_largest_numbers_fit(void **state)
{
	struct proc_map map;

	(void)state;
	assert_int_equal(parse("0-ffffffffffffffff --xp ffffffffffffffff ffffffff:ffffffff "
			       "18446744073709551615 /x",
			       &map),
			 0);
	assert_true(map.end == UINT64_MAX && map.offset == UINT64_MAX && map.inode == UINT64_MAX);
}

static void test_nul_inside_a_line_is_refused(void **state)
{
	char line[] = PREFIX "/a\0b";
	struct proc_map map;

	(void)state;
	assert_int_equal(proc_map_parse(line, sizeof(line) - 1, &map), -EPROTO);
}

static void test_own_mapping_of_an_odd_file_is_found(void **state)
{
	char name[] = "/tmp/snap maps\nXXXXXX";
	snap_cleanup_procmaps struct procmaps maps;
	snap_cleanup_close int fd = mkostemp(name, O_CLOEXEC);
	bool found = false, gone = false;
	struct proc_map map;
	struct stat st;
	void *at;
	int r;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 8192), 0);
	at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 4096);
	assert_true(at != MAP_FAILED);
	assert_int_equal(fstat(fd, &st), 0);
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(procmaps_open(&maps, getpid()), 0);
		while ((r = procmaps_next(&maps, &map)) > 0) {
			if (map.start != (uintptr_t)at)
				continue;
			assert_string_equal(map.path, name);
			assert_int_equal(map.inode, st.st_ino);
			assert_true(map.dev == st.st_dev);
			assert_int_equal(map.offset, 4096);
			assert_true(map.shared);
			found = found || !map.deleted;
			gone = gone || map.deleted;
		}
		assert_int_equal(r, 0);
		procmaps_close(&maps);
		(void)unlink(name);
	}
	assert_true(found && gone);
	(void)munmap(at, 4096);
}

static void test_many_mappings_cross_the_buffer_unharmed(void **state)
{
	enum {
		LINES = 5000
	};
	snap_cleanup_procmaps struct procmaps maps;
	snap_cleanup_free char *text = calloc(LINES, 128);
	struct proc_map map;
	size_t used = 0;
	int n = 0, r;

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < LINES; i++)
		used += (size_t)sprintf(text + used, "%x-%x rw-p 00000000 00:00 %d /%0*d\n",
					(i + 1) * 4096, (i + 2) * 4096, i, i % 40 + 1, i);
	procmaps_init_take(&maps, memory_file(text, used));
	while ((r = procmaps_next(&maps, &map)) > 0) {
		assert_int_equal(map.inode, n);
		assert_int_equal(atoi(map.path + 1), n);
		n++;
	}
	assert_int_equal(r, 0);
	assert_int_equal(n, LINES);
}

static void test_endless_line_is_refused(void **state)
{
	snap_cleanup_procmaps struct procmaps maps;
	snap_cleanup_free char *text = malloc(PROCMAPS_LINE_MAX * 2);
	struct proc_map map;

	(void)state;
	assert_non_null(text);
	memset(text, 'a', PROCMAPS_LINE_MAX * 2);
	procmaps_init_take(&maps, memory_file(text, PROCMAPS_LINE_MAX * 2));
	assert_int_equal(procmaps_next(&maps, &map), -ENAMETOOLONG);
}

static void test_cut_last_line_is_refused(void **state)
{
	static const char text[] = "1000-2000 rw-p 00000000 00:00 0 \n2000-3000 rw-p 000";
	snap_cleanup_procmaps struct procmaps maps;
	struct proc_map map;

	(void)state;
	procmaps_init_take(&maps, memory_file(text, strlen(text)));
	assert_int_equal(procmaps_next(&maps, &map), 1);
	assert_int_equal(procmaps_next(&maps, &map), -EPROTO);
}

static void test_missing_process_is_told(void **state)
{
	snap_cleanup_procmaps struct procmaps maps;

	(void)state;
	assert_int_equal(procmaps_open(&maps, 1 << 30), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_column_is_read),
		cmocka_unit_test(test_anonymous_memory_has_an_empty_path),
		cmocka_unit_test(test_blanks_inside_a_path_stay),
		cmocka_unit_test(test_escaped_newline_becomes_a_newline),
		cmocka_unit_test(test_deleted_mark_leaves_the_path),
		cmocka_unit_test(test_malformed_lines_are_refused),
		cmocka_unit_test(test_largest_numbers_fit),
		cmocka_unit_test(test_nul_inside_a_line_is_refused),
		cmocka_unit_test(test_own_mapping_of_an_odd_file_is_found),
		cmocka_unit_test(test_many_mappings_cross_the_buffer_unharmed),
		cmocka_unit_test(test_endless_line_is_refused),
		cmocka_unit_test(test_cut_last_line_is_refused),
		cmocka_unit_test(test_missing_process_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
