/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/beneath.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

static int open_and_close(const struct sandbox *box, const char *name, int flags)
{
	int fd = beneath_open(box->fd, name, flags);

	if (fd < 0)
		return fd;
	assert_true(fd_is_cloexec(fd));
	(void)fd_close(fd);
	return 0;
}

static void test_files_in_folders_are_opened(void **state)
{
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "a/b/c", "x");
	assert_int_equal(open_and_close(&box, "a/b/c", O_RDONLY), 0);
	assert_int_equal(open_and_close(&box, "a/b", O_PATH | O_DIRECTORY), 0);
	assert_int_equal(open_and_close(&box, "a/x", O_RDONLY), -ENOENT);
	assert_int_equal(open_and_close(&box, "a/b/c/d", O_RDONLY), -ENOTDIR);
	sandbox_done(&box);
}

static void test_links_are_not_followed_in_any_component(void **state)
{
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "a/b", "x");
	assert_int_equal(symlinkat("a", box.fd, "folder-link"), 0);
	assert_int_equal(symlinkat("b", box.fd, "a/file-link"), 0);
	assert_int_equal(open_and_close(&box, "folder-link/b", O_RDONLY), -ENOTDIR);
	assert_int_equal(open_and_close(&box, "a/file-link", O_RDONLY), -ELOOP);
	sandbox_done(&box);
}

static void test_ways_out_are_refused(void **state)
{
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	assert_int_equal(open_and_close(&box, "..", O_PATH), -EINVAL);
	assert_int_equal(open_and_close(&box, "/etc/passwd", O_RDONLY), -EINVAL);
	assert_int_equal(open_and_close(&box, "a/../../etc", O_PATH), -EINVAL);
	assert_int_equal(open_and_close(&box, "", O_PATH), -EINVAL);
	sandbox_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_in_folders_are_opened),
		cmocka_unit_test(test_links_are_not_followed_in_any_component),
		cmocka_unit_test(test_ways_out_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
