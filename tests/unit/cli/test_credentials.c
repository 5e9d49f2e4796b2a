/* SPDX-License-Identifier: Apache-2.0 */
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/credentials.h"

#include "tests/lib/test.h"

#define UNKNOWN_UID "3999123"

static void test_number_without_an_entry_gets_group_0_alone(void **state)
{
	struct credentials c;

	(void)state;
	assert_int_equal(credentials_parse(UNKNOWN_UID, &c, NULL), 0);
	assert_int_equal(c.uid, 3999123);
	assert_int_equal(c.gid, 0);
	assert_int_equal(c.n_groups, 0);
}

static void test_number_with_a_group_has_that_one_alone(void **state)
{
	struct credentials c;

	(void)state;
	assert_int_equal(credentials_parse("1000:77", &c, NULL), 0);
	assert_int_equal(c.uid, 1000);
	assert_int_equal(c.gid, 77);
	assert_int_equal(c.n_groups, 0);
}

static void test_name_brings_its_groups(void **state)
{
	const struct passwd *root = getpwuid(0);
	struct credentials c;

	(void)state;
	assert_non_null(root);
	assert_int_equal(credentials_parse(root->pw_name, &c, NULL), 0);
	assert_int_equal(c.uid, 0);
	assert_int_equal(c.gid, root->pw_gid);
	assert_true(c.n_groups >= 1);
}

static void test_malformed_or_unknown_users_are_usage_errors(void **state)
{
	static const char *const texts[] = {"",		 ":",		"1000:",      ":77",
					    "no.such.u", "0:no.such.g", "4294967295", "-1"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct snap_error err = {.code = SNAP_OK};
		struct credentials c;

		assert_true(credentials_parse(texts[i], &c, &err) < 0);
		assert_int_equal(err.code, SNAP_E_USAGE);
	}
}

static void test_applied_credentials_leave_no_way_back(void **state)
{
	const struct credentials c = {.uid = 12345, .gid = 23456, .groups = {34567}, .n_groups = 1};
	int status;
	pid_t pid;

	(void)state;
	if (geteuid() != 0) {
		(void)printf("SKIP: not root\n");
		skip();
	}
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		gid_t groups[4];

		if (credentials_apply(&c, NULL) < 0)
			_exit(1);
		if (getuid() != 12345 || geteuid() != 12345 || getegid() != 23456)
			_exit(2);
		if (getgroups(4, groups) != 1 || groups[0] != 34567)
			_exit(3);
		_exit(setuid(0) == 0 ? 4 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_acting_as_another_ends(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		(void)printf("SKIP: not root\n");
		skip();
	}
	assert_int_equal(credentials_act_as(12345, 23456, NULL), 0);
	assert_int_equal(geteuid(), 12345);
	assert_int_equal(getegid(), 23456);
	credentials_return();
	assert_int_equal(geteuid(), 0);
	assert_int_equal(getegid(), getgid());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_number_without_an_entry_gets_group_0_alone),
		cmocka_unit_test(test_number_with_a_group_has_that_one_alone),
		cmocka_unit_test(test_name_brings_its_groups),
		cmocka_unit_test(test_malformed_or_unknown_users_are_usage_errors),
		cmocka_unit_test(test_applied_credentials_leave_no_way_back),
		cmocka_unit_test(test_acting_as_another_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
