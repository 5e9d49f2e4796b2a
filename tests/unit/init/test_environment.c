/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init/environment.h"

#include "tests/lib/test.h"

static const char *value_of(char *const *envp, const char *name)
{
	size_t len = strlen(name);
	const char *found = NULL;

	for (; *envp; envp++) {
		if (strncmp(*envp, name, len) != 0 || (*envp)[len] != '=')
			continue;
		assert_null(found); /* once at most */
		found = *envp + len + 1;
	}
	return found;
}

static void test_nothing_to_change_is_no_environment(void **state)
{
	struct environment environment = {.envp = NULL};

	(void)state;
	assert_int_equal(environment_make(&environment), 0);
	assert_null(environment.envp);
	environment_done(&environment);
}

static void test_variables_are_replaced_left_out_and_kept(void **state)
{
	struct environment environment = {.envp = NULL};

	(void)state;
	assert_int_equal(setenv("TEST_OLD", "1", 1), 0);
	assert_int_equal(setenv("TEST_OLDER", "2", 1), 0);
	assert_int_equal(setenv("TEST_GONE", "3", 1), 0);
	environment_change(&environment, "TEST_OLD", "TEST_OLD=new");
	environment_change(&environment, "TEST_GONE", NULL);
	environment_change(&environment, "TEST_NEVER", NULL);
	environment_change(&environment, "TEST_FRESH", "TEST_FRESH=4");
	assert_int_equal(environment_make(&environment), 0);
	assert_string_equal(value_of(environment.envp, "TEST_OLD"), "new");
	assert_string_equal(value_of(environment.envp, "TEST_OLDER"), "2");
	assert_string_equal(value_of(environment.envp, "TEST_FRESH"), "4");
	assert_null(value_of(environment.envp, "TEST_GONE"));
	assert_non_null(value_of(environment.envp, "PATH"));
	environment_done(&environment);
	assert_null(environment.envp);
	assert_string_equal(getenv("TEST_GONE"), "3");
}

static void test_listen_pid_is_written_only_where_it_is_ours(void **state)
{
	static const char *const foreign[] = {"", "x", "1x", "0", "-1", "99999999999999999999"};
	struct environment environment = {.envp = NULL};
	char text[16];

	(void)state;
	assert_int_equal(unsetenv("LISTEN_PID"), 0);
	assert_false(environment_is_listening());
	for (unsigned int i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		assert_int_equal(setenv("LISTEN_PID", foreign[i], 1), 0);
		assert_false(environment_is_listening());
	}
	environment_write_listen_pid(&environment, 7);
	assert_string_equal(environment.listen_pid, "");

	(void)snprintf(text, sizeof(text), "%d", (int)getpid());
	assert_int_equal(setenv("LISTEN_PID", text, 1), 0);
	assert_true(environment_is_listening());
	environment_change_listen_pid(&environment);
	assert_int_equal(environment_make(&environment), 0);
	environment_write_listen_pid(&environment, 2147483647);
	assert_string_equal(value_of(environment.envp, "LISTEN_PID"), "2147483647");
	environment_done(&environment);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_to_change_is_no_environment),
		cmocka_unit_test(test_variables_are_replaced_left_out_and_kept),
		cmocka_unit_test(test_listen_pid_is_written_only_where_it_is_ours),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
