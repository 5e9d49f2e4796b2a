/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/damage.h"
#include "common/fd.h"
#include "common/io.h"
#include "snapshot/digest.h"
#include "snapshot/folder.h"

#include "tests/lib/test.h"

struct fixture {
	char dir[64];
	int fd;
	struct manifest m;
	struct manifest_image images[3];
	struct damage damage;
};

static void put(int dir_fd, const char *name, const char *text)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
	(void)fd_close(fd);
}

static int setup(void **state)
{
	static const char *const names[] = {"criu/core-1.img", "criu/pages-1.img", "files/0"};
	static struct fixture f;

	f = (struct fixture){.dir = "/tmp/test_damage.XXXXXX"};
	if (!mkdtemp(f.dir))
		return -1;
	f.fd = open(f.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(f.fd, "criu", 0700), 0);
	assert_int_equal(mkdirat(f.fd, "files", 0700), 0);
	put(f.fd, "manifest.json", "{}");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		put(f.fd, names[i], names[i]);
		f.images[i].name = (char *)(uintptr_t)names[i];
		assert_int_equal(
			file_digest(f.fd, names[i], f.images[i].digest, &f.images[i].size, NULL),
			0);
	}
	f.m.images = f.images;
	f.m.n_images = ARRAY_LEN(names);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	damage_done(&f->damage);
	(void)fd_close(f->fd);
	(void)folder_remove(tmp, f->dir + strlen("/tmp/"));
	(void)fd_close(tmp);
	return 0;
}

static void find(struct fixture *f)
{
	assert_int_equal(damage_find(f->fd, &f->m, &f->damage, NULL), 0);
}

static void assert_damaged(struct fixture *f, const char *name, const char *problem)
{
	for (size_t i = 0; i < f->damage.n; i++) {
		if (strcmp(f->damage.items[i].name, name) == 0) {
			assert_non_null(strstr(f->damage.items[i].problem, problem));
			return;
		}
	}
	fail_msg("'%s' is not told", name);
}

static void test_intact_files_are_counted_and_not_told(void **state)
{
	struct fixture *f = *state;

	find(f);
	assert_int_equal(f->damage.n_all, 0);
	assert_int_equal(f->damage.files, 3);
	assert_true(f->damage.bytes == f->images[0].size + f->images[1].size + f->images[2].size);
}

static void test_every_damaged_file_is_told_and_not_only_the_first(void **state)
{
	struct fixture *f = *state;

	put(f->fd, "criu/core-1.img", "CRIU/core-1.img"); /* same size */
	put(f->fd, "criu/pages-1.img", "short");
	assert_int_equal(unlinkat(f->fd, "files/0", 0), 0);
	find(f);
	assert_int_equal(f->damage.n_all, 3);
	assert_damaged(f, "criu/core-1.img", "digest");
	assert_damaged(f, "criu/pages-1.img", "5 bytes");
	assert_damaged(f, "files/0", "missing");
}

static void test_file_that_others_may_read_is_told(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fchmodat(f->fd, "criu/pages-1.img", 0640, 0), 0);
	find(f);
	assert_int_equal(f->damage.n_all, 1);
	assert_damaged(f, "criu/pages-1.img", "mode 0640");
}

static void test_file_that_nobody_knows_is_told(void **state)
{
	struct fixture *f = *state;

	put(f->fd, "criu/planted.img", "x");
	put(f->fd, "stray", "x");
	find(f);
	assert_int_equal(f->damage.n_all, 2);
	assert_damaged(f, "criu/planted.img", "not in the manifest");
	assert_damaged(f, "stray", "not in the manifest");
}

static void test_what_stands_in_place_of_a_folder_is_told(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(renameat(f->fd, "files", f->fd, "elsewhere"), 0);
	assert_int_equal(symlinkat("elsewhere", f->fd, "files"), 0);
	assert_int_equal(fchmodat(f->fd, "criu", 0755, 0), 0);
	find(f);
	assert_damaged(f, "files", "is no folder");
	assert_damaged(f, "criu", "mode 0755");
	assert_damaged(f, "elsewhere", "not in the manifest");
}

static void test_file_with_a_hole_of_a_tebibyte_is_told_at_once(void **state)
{
	struct fixture *f = *state;
	int fd = openat(f->fd, "criu/pages-1.img", O_WRONLY | O_CLOEXEC);

	if (ftruncate(fd, (off_t)1 << 40) < 0)
		skip();
	(void)fd_close(fd);
	find(f);
	assert_damaged(f, "criu/pages-1.img", "has 1099511627776 bytes");
}

static void test_link_in_place_of_a_file_is_told(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(unlinkat(f->fd, "files/0", 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", f->fd, "files/0"), 0);
	find(f);
	assert_damaged(f, "files/0", "");
}

static void test_missing_folder_is_told_by_its_files(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(folder_remove(f->fd, "criu"), 0);
	find(f);
	assert_int_equal(f->damage.n_all, 2);
}

static void test_more_than_can_be_listed_is_counted(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < DAMAGE_ITEMS_MAX + 5; i++)
		assert_int_equal(damage_add(&f->damage, "x", "y"), 0);
	assert_int_equal(f->damage.n, DAMAGE_ITEMS_MAX);
	assert_int_equal(f->damage.n_all, DAMAGE_ITEMS_MAX + 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_intact_files_are_counted_and_not_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_every_damaged_file_is_told_and_not_only_the_first, setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_that_others_may_read_is_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_file_that_nobody_knows_is_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_link_in_place_of_a_file_is_told, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_what_stands_in_place_of_a_folder_is_told,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_file_with_a_hole_of_a_tebibyte_is_told_at_once,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_missing_folder_is_told_by_its_files, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_more_than_can_be_listed_is_counted, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
