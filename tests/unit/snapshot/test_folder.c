/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/folder.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

static void test_removal_takes_everything_below(void **state)
{
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "gone/a/b/c", "x");
	sandbox_put_text(&box, "gone/d", "x");
	assert_int_equal(mkfifoat(box.fd, "gone/fifo", 0600), 0);
	sandbox_put_text(&box, "stays", "x");
	assert_int_equal(folder_remove(box.fd, "gone"), 0);
	assert_false(sandbox_has(&box, "gone"));
	assert_int_equal(folder_remove(box.fd, "stays"), 0);
	assert_false(sandbox_has(&box, "stays"));
	assert_int_equal(folder_remove(box.fd, "never-was"), 0);
	sandbox_done(&box);
}

static void test_removal_takes_links_and_not_what_they_name(void **state)
{
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "outside/keep", "x");
	sandbox_put_text(&box, "gone/f", "x");
	assert_int_equal(symlinkat("../outside", box.fd, "gone/link"), 0);
	assert_int_equal(symlinkat("outside", box.fd, "top-link"), 0);
	assert_int_equal(folder_remove(box.fd, "gone"), 0);
	assert_int_equal(folder_remove(box.fd, "top-link"), 0);
	assert_false(sandbox_has(&box, "top-link"));
	assert_true(sandbox_has(&box, "outside/keep"));
	sandbox_done(&box);
}

static void test_removal_has_a_bounded_depth(void **state)
{
	struct sandbox box;
	char deep[64] = "";

	(void)state;
	sandbox_init(&box);
	for (int i = 0; i <= FOLDER_DEPTH_MAX; i++)
		(void)strcat(deep, "d/");
	(void)strcat(deep, "f");
	sandbox_put_text(&box, deep, "x");
	assert_int_equal(folder_remove(box.fd, "d"), -ELOOP);
	assert_true(sandbox_has(&box, deep));
	/* one level less is fine */
	assert_int_equal(renameat(box.fd, "d/d", box.fd, "e"), 0);
	assert_int_equal(folder_remove(box.fd, "e"), 0);
	sandbox_done(&box);
}

static int remove_with_mount(void *arg)
{
	struct sandbox box = *(const struct sandbox *)arg;
	char path[128];

	(void)sandbox_path(&box, "gone/mount", path, sizeof(path));
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", path, "tmpfs", 0, NULL) < 0)
		return 77;
	/* the descriptor from before is one of the other mount namespace */
	box.fd = open(box.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sandbox_put_text(&box, "gone/mount/keep", "x");
	if (folder_remove(box.fd, "gone") != -EXDEV)
		return 1;
	return sandbox_has(&box, "gone/mount/keep") ? 0 : 2;
}

static void test_removal_stops_at_another_file_system(void **state)
{
	struct sandbox box;
	int r;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "gone/mount/under", "x");
	r = sandbox_run(0, remove_with_mount, &box);
	sandbox_done(&box);
	if (r == 77) {
		print_message("SKIP: no right to mount\n");
		skip();
	}
	assert_int_equal(r, 0);
}

static void test_sync_makes_all_private(void **state)
{
	struct sandbox box;
	struct stat st;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "g/criu/a.img", "x");
	sandbox_put_text(&box, "g/b", "x");
	sandbox_put_text(&box, "outside", "x");
	assert_int_equal(symlinkat("../outside", box.fd, "g/link"), 0);
	assert_int_equal(fchmodat(box.fd, "g/criu/a.img", 0644, 0), 0);
	assert_int_equal(fchmodat(box.fd, "g/criu", 0755, 0), 0);
	assert_int_equal(fchmodat(box.fd, "outside", 0644, 0), 0);
	{
		int fd = openat(box.fd, "g", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		assert_int_equal(folder_sync(fd), 0);
		(void)close(fd);
	}
	assert_int_equal(fstatat(box.fd, "g/criu/a.img", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fstatat(box.fd, "g/criu", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(fstatat(box.fd, "outside", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	sandbox_done(&box);
}

static int count_entry(int dir_fd, const char *name, void *arg)
{
	int *n = arg;

	(void)dir_fd;
	(*n)++;
	return strcmp(name, "stop") == 0 ? 42 : 0;
}

static void test_each_entry_is_seen_once_and_again(void **state)
{
	struct sandbox box;
	int n = 0;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "a", "x");
	sandbox_put_text(&box, "b/c", "x");
	assert_int_equal(folder_each(box.fd, count_entry, &n), 0);
	assert_int_equal(folder_each(box.fd, count_entry, &n), 0);
	assert_int_equal(n, 4);
	sandbox_put_text(&box, "stop", "x");
	assert_int_equal(folder_each(box.fd, count_entry, &n), 42);
	sandbox_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_removal_takes_everything_below),
		cmocka_unit_test(test_removal_takes_links_and_not_what_they_name),
		cmocka_unit_test(test_removal_has_a_bounded_depth),
		cmocka_unit_test(test_removal_stops_at_another_file_system),
		cmocka_unit_test(test_sync_makes_all_private),
		cmocka_unit_test(test_each_entry_is_seen_once_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
