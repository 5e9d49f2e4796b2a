/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/identity.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define SALT "00112233445566778899aabbccddeeff"

static char arg0[] = "/bin/engine", arg1[] = "--port=1";
static char *argv[] = {arg0, arg1, NULL};

static void take(char *const *envp, const char *salt, struct manifest_identity *ret)
{
	assert_int_equal(identity_take(argv, envp, "none", salt, ret, NULL), 0);
}

static void test_command_and_folder_are_taken(void **state)
{
	char *envp[] = {NULL};
	struct manifest_identity identity;
	char cwd[4096];

	(void)state;
	take(envp, NULL, &identity);
	assert_int_equal(identity.argv.n, 2);
	assert_string_equal(identity.argv.items[1], "--port=1");
	assert_string_equal(identity.cwd, getcwd(cwd, sizeof(cwd)));
	assert_int_equal(identity.uid, geteuid());
	assert_int_equal(identity.gid, getegid());
	assert_string_equal(identity.adapter, "none");
	assert_int_equal(identity.n_env, 0);
	identity_done(&identity);
	identity_done(&identity);
}

static void test_environment_is_sorted_and_ignores_its_list(void **state)
{
	char *envp[] = {
		(char[]){"ZED=1"},
		(char[]){"HOSTNAME=pod-1"},
		(char[]){"A=2"},
		(char[]){"KUBERNETES_PORT=tcp://1"},
		(char[]){"LISTEN_FDS=1"},
		(char[]){"AB=3"},
		(char[]){"SNAPINIT_SNAPSHOT=/x"},
		(char[]){"_=/bin/sh"},
		(char[]){"no variable"},
		(char[]){"=value"},
		(char[]){"HOSTNAMES=kept"},
		NULL,
	};
	static const char *const want[] = {"A", "AB", "HOSTNAMES", "ZED"};
	struct manifest_identity identity;

	(void)state;
	take(envp, NULL, &identity);
	assert_int_equal(identity.n_env, 4);
	for (size_t i = 0; i < identity.n_env; i++)
		assert_string_equal(identity.env[i].name, want[i]);
	identity_done(&identity);
}

static void test_digest_is_the_documented_one(void **state)
{
	/* printf '%s\0%s\0%s\0' SALT NAME value | sha256sum */
	static const char want[] =
		"2d6de1bedfdaa585c62e9bc0644aa95fe86d2d9881570783fc7ad6e0b2878ae6";
	char *envp[] = {(char[]){"NAME=value"}, NULL};
	struct manifest_identity identity;

	(void)state;
	take(envp, SALT, &identity);
	assert_string_equal(identity.env_salt, SALT);
	assert_string_equal(identity.env[0].digest, want);
	identity_done(&identity);
}

static void test_same_salt_same_digest_other_salt_other_digest(void **state)
{
	char *envp[] = {(char[]){"A=secret"}, (char[]){"B=secret"}, NULL};
	struct manifest_identity first, again, fresh;

	(void)state;
	take(envp, NULL, &first);
	take(envp, first.env_salt, &again);
	take(envp, NULL, &fresh);
	assert_string_equal(first.env[0].digest, again.env[0].digest);
	assert_string_not_equal(first.env_salt, fresh.env_salt);
	assert_string_not_equal(first.env[0].digest, fresh.env[0].digest);
	assert_string_not_equal(first.env[0].digest, first.env[1].digest);
	identity_done(&first);
	identity_done(&again);
	identity_done(&fresh);
}

static void test_name_that_is_twice_there_counts_with_both_values(void **state)
{
	char *twice[] = {(char[]){"A=1"}, (char[]){"A=2"}, NULL};
	char *swapped[] = {(char[]){"A=2"}, (char[]){"A=1"}, NULL};
	char *once[] = {(char[]){"A=1"}, NULL};
	struct manifest_identity a, b, c;

	(void)state;
	take(twice, SALT, &a);
	take(swapped, SALT, &b);
	take(once, SALT, &c);
	assert_int_equal(a.n_env, 1);
	assert_string_not_equal(a.env[0].digest, b.env[0].digest);
	assert_string_not_equal(a.env[0].digest, c.env[0].digest);
	identity_done(&a);
	identity_done(&b);
	identity_done(&c);
}

static void test_malformed_salt_is_refused(void **state)
{
	struct snap_error err = {0};
	struct manifest_identity identity;
	char *envp[] = {NULL};

	(void)state;
	assert_int_equal(identity_take(argv, envp, "none", "short", &identity, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "salt"));
}

static int take_groups(void *arg)
{
	const gid_t groups[] = {44, 7, 27};
	struct manifest_identity identity;
	char *envp[] = {NULL};

	(void)arg;
	if (setgroups(3, groups) < 0)
		return 1;
	if (identity_take(argv, envp, "none", NULL, &identity, NULL) < 0)
		return 2;
	if (identity.n_groups != 3 || identity.groups[0] != 7 || identity.groups[1] != 27 ||
	    identity.groups[2] != 44)
		return 3;
	if (setgroups(0, NULL) < 0)
		return 4;
	identity_done(&identity);
	if (identity_take(argv, envp, "none", NULL, &identity, NULL) < 0 || identity.n_groups != 0)
		return 5;
	identity_done(&identity);
	return 0;
}

static void test_groups_are_sorted(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP: needs root to set groups\n");
		skip();
	}
	assert_int_equal(sandbox_run(0, take_groups, NULL), 0);
}

static int take_in_removed_folder(void *arg)
{
	struct manifest_identity identity;
	char path[] = "/tmp/snapinit-gone-XXXXXX";
	char *envp[] = {NULL};

	(void)arg;
	if (!mkdtemp(path) || chdir(path) < 0 || rmdir(path) < 0)
		return 1;
	return identity_take(argv, envp, "none", NULL, &identity, NULL) < 0 ? 0 : 2;
}

static void test_removed_working_folder_is_a_failure(void **state)
{
	(void)state;
	assert_int_equal(sandbox_run(0, take_in_removed_folder, NULL), 0);
}

static void test_ignore_list_takes_whole_names(void **state)
{
	(void)state;
	assert_true(identity_ignores_env("PWD"));
	assert_true(identity_ignores_env("LISTEN_FDNAMES"));
	assert_true(identity_ignores_env("KUBERNETES_SERVICE_HOST"));
	assert_true(identity_ignores_env("K_REVISION"));
	assert_false(identity_ignores_env("PWDX"));
	assert_false(identity_ignores_env("MYPWD"));
	assert_false(identity_ignores_env("LISTEN"));
	assert_false(identity_ignores_env("CUDA_VISIBLE_DEVICES"));
	assert_false(identity_ignores_env("AWS_SECRET_ACCESS_KEY"));
	assert_false(identity_ignores_env(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_command_and_folder_are_taken),
		cmocka_unit_test(test_environment_is_sorted_and_ignores_its_list),
		cmocka_unit_test(test_digest_is_the_documented_one),
		cmocka_unit_test(test_same_salt_same_digest_other_salt_other_digest),
		cmocka_unit_test(test_name_that_is_twice_there_counts_with_both_values),
		cmocka_unit_test(test_malformed_salt_is_refused),
		cmocka_unit_test(test_groups_are_sorted),
		cmocka_unit_test(test_removed_working_folder_is_a_failure),
		cmocka_unit_test(test_ignore_list_takes_whole_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
