/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/layout.h"
#include "common/fd.h"

#include "tests/lib/test.h"

static char top[64];

static void make_program(const char *name)
{
	char path[PATH_MAX], *slash;

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	for (slash = strchr(path + strlen(top) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0755);
		*slash = '/';
	}
	(void)fd_close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
}

static int setup(void **state)
{
	(void)state;
	(void)strcpy(top, "/tmp/test_layout.XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	(void)snprintf(command, sizeof(command), "rm -rf %s", top);
	return system(command);
}

static void check_found(const char *dir, const char *expected)
{
	char self[PATH_MAX], found[PATH_MAX], path[PATH_MAX];

	(void)snprintf(self, sizeof(self), "%s/%s", top, dir);
	(void)snprintf(path, sizeof(path), "%s/%s", top, expected);
	assert_int_equal(layout_find_snapinit(self, NULL, found, NULL), 0);
	assert_string_equal(found, path);
}

static void test_in_a_bundle_the_program_is_ld_so_in_lib(void **state)
{
	char self[PATH_MAX], found[PATH_MAX], path[PATH_MAX];

	(void)state;
	make_program("lib/ld-linux-x86-64.so.2");
	make_program("bin/snapinit");
	make_program("bin/snapctl");
	make_program("libexec/snapinit/snapworker");
	check_found("lib", "bin/snapinit");

	(void)snprintf(self, sizeof(self), "%s/lib", top);
	(void)snprintf(path, sizeof(path), "%s/bin/snapctl", top);
	assert_int_equal(layout_find_self(self, found, NULL), 0);
	assert_string_equal(found, path);

	(void)snprintf(self, sizeof(self), "%s/bin/snapinit", top);
	(void)snprintf(path, sizeof(path), "%s/libexec/snapinit/snapworker", top);
	assert_int_equal(layout_find_snapworker(self, found, NULL), 0);
	assert_string_equal(found, path);
}

static void test_in_a_build_folder_the_layers_are_beside_each_other(void **state)
{
	(void)state;
	make_program("cli/snapctl");
	make_program("init/snapinit");
	check_found("cli", "init/snapinit");
}

static void test_installed_they_are_in_one_folder(void **state)
{
	(void)state;
	make_program("bin/snapctl");
	make_program("bin/snapinit");
	check_found("bin", "bin/snapinit");
}

static void test_none_is_a_preflight_failure_with_a_remedy(void **state)
{
	struct snap_error err = {.code = SNAP_OK};
	char found[PATH_MAX];

	(void)state;
	assert_true(layout_find_snapinit(top, NULL, found, &err) < 0);
	assert_int_equal(err.code, SNAP_E_PREFLIGHT);
	assert_non_null(strstr(err.msg, "--snapinit"));
}

static void test_chosen_one_beats_the_place(void **state)
{
	char chosen[PATH_MAX], found[PATH_MAX];

	(void)state;
	make_program("bin/snapinit");
	make_program("other/init");
	(void)snprintf(chosen, sizeof(chosen), "%s/other/init", top);
	assert_int_equal(layout_find_snapinit(top, chosen, found, NULL), 0);
	assert_string_equal(found, chosen);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_a_bundle_the_program_is_ld_so_in_lib, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_in_a_build_folder_the_layers_are_beside_each_other, setup, teardown),
		cmocka_unit_test_setup_teardown(test_installed_they_are_in_one_folder, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_none_is_a_preflight_failure_with_a_remedy,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_chosen_one_beats_the_place, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
