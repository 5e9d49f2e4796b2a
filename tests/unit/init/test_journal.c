/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "init/journal.h"

#include "tests/lib/test.h"

static char folder[64], file[128], kept[128];

static void note(int fd, char kind, const char *path)
{
	char record[256];
	int n = snprintf(record, sizeof(record), "%c%s", kind, path);

	assert_int_equal(write(fd, record, (size_t)n + 1), n + 1);
}

static void touch(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	(void)close(fd);
}

static int make_tree(void **state)
{
	(void)state;
	(void)strcpy(folder, "/tmp/journal-XXXXXX");
	assert_non_null(mkdtemp(folder));
	(void)snprintf(file, sizeof(file), "%s/file", folder);
	(void)snprintf(kept, sizeof(kept), "%s/kept", folder);
	touch(file);
	return 0;
}

static int remove_tree(void **state)
{
	(void)state;
	(void)unlink(file);
	(void)unlink(kept);
	(void)rmdir(folder);
	return 0;
}

static void test_newest_goes_first_so_that_folders_are_empty(void **state)
{
	int fd = journal_open();
	struct stat st;

	(void)state;
	note(fd, 'D', folder);
	note(fd, 'F', file);
	journal_undo(fd);
	assert_int_equal(access(folder, F_OK), -1);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 0);
	(void)close(fd);
}

static void test_what_is_not_noted_stays(void **state)
{
	int fd = journal_open();

	(void)state;
	touch(kept);
	note(fd, 'D', folder);
	note(fd, 'F', file);
	journal_undo(fd);
	assert_int_equal(access(file, F_OK), -1);
	assert_int_equal(access(kept, F_OK), 0);
	(void)close(fd);
}

static void test_a_record_cut_short_or_of_no_kind_is_skipped(void **state)
{
	int fd = journal_open();
	char cut[160];
	int n = snprintf(cut, sizeof(cut), "F%s", file);

	(void)state;
	note(fd, 'X', file);
	note(fd, 'F', "relative");
	assert_int_equal(write(fd, cut, (size_t)n), n); /* no NUL */
	journal_undo(fd);
	assert_int_equal(access(file, F_OK), 0);
	(void)close(fd);
}

static void test_no_journal_is_fine(void **state)
{
	(void)state;
	journal_undo(-9);
	assert_int_equal(access(file, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_newest_goes_first_so_that_folders_are_empty,
						make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(test_what_is_not_noted_stays, make_tree,
						remove_tree),
		cmocka_unit_test_setup_teardown(test_a_record_cut_short_or_of_no_kind_is_skipped,
						make_tree, remove_tree),
		cmocka_unit_test_setup_teardown(test_no_journal_is_fine, make_tree, remove_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
