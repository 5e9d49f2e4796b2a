/* SPDX-License-Identifier: Apache-2.0 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "snapshot/rule.h"

#include "tests/lib/test.h"

struct rule_case {
	rule_fn rule;
	const char *text;
	bool keeps;
};

static const struct rule_case cases[] = {
	{rule_not_empty, "a", true},
	{rule_not_empty, "", false},
	{rule_absolute_path, "/a", true},
	{rule_absolute_path, "/a/b c/\xc3\xa9", true},
	{rule_absolute_path, "/a/..b/.c/d..", true},
	{rule_absolute_path, "/", false},
	{rule_absolute_path, "", false},
	{rule_absolute_path, "a", false},
	{rule_absolute_path, "//a", false},
	{rule_absolute_path, "/a/", false},
	{rule_absolute_path, "/a//b", false},
	{rule_absolute_path, "/..", false},
	{rule_absolute_path, "/a/../b", false},
	{rule_absolute_path, "/a/..", false},
	{rule_absolute_path, "/./a", false},
	{rule_folder, "/", true},
	{rule_folder, "/a", true},
	{rule_folder, "//", false},
	{rule_relative_path, "criu/pages-1.img", true},
	{rule_relative_path, "a", true},
	{rule_relative_path, "...", true},
	{rule_relative_path, "", false},
	{rule_relative_path, "/a", false},
	{rule_relative_path, "a/", false},
	{rule_relative_path, "a//b", false},
	{rule_relative_path, "..", false},
	{rule_relative_path, "a/..", false},
	{rule_relative_path, "./a", false},
	{rule_relative_path, "a b", false},
	{rule_relative_path, "a\n", false},
	{rule_relative_path, "\xc3\xa9", false},
	{rule_env_name, "PATH", true},
	{rule_env_name, "a.b", true},
	{rule_env_name, "", false},
	{rule_env_name, "A=B", false},
	{rule_generation, "gen-1", true},
	{rule_generation, "gen-999999999", true},
	{rule_generation, "gen-0", false},
	{rule_generation, "gen-", false},
	{rule_generation, "gen-01", false},
	{rule_generation, "gen-1000000000", false},
	{rule_generation, "gen-1/..", false},
	{rule_generation, "Gen-1", false},
	{rule_generation, "gen--1", false},
	{rule_generation, "gen-1 ", false},
	{rule_time, "2026-11-24T04:01:23Z", true},
	{rule_time, "2026-11-24T04:01:23.5Z", true},
	{rule_time, "2026-11-24T04:01:23.123456789Z", true},
	{rule_time, "2026-11-24T04:01:23.Z", false},
	{rule_time, "2026-11-24T04:01:23.1234567890Z", false},
	{rule_time, "2026-11-24T04:01:23+01:00", false},
	{rule_time, "2026-11-24T04:01:23", false},
	{rule_time, "2026-11-24T04:01", false},
	{rule_time, "2026-11-24T04:01:23ZZ", false},
	{rule_time, "", false},
	{rule_build_id, "", true},
	{rule_build_id, "00ff", true},
	{rule_build_id, "0123456789abcdef0123456789abcdef01234567", true},
	{rule_build_id, "0123456789abcdef0123456789abcdef0123456789", false},
	{rule_build_id, "0ff", false},
	{rule_build_id, "00FF", false},
	{rule_setting, "A", true},
	{rule_setting, "none", true},
	{rule_setting, "a", false},
	{rule_setting, "", false},
	{rule_protocol, "udp6", true},
	{rule_protocol, "unix", false},
	{rule_pipe, "pipe:[1]", true},
	{rule_pipe, "pipe:[]", false},
	{rule_pipe, "pipe:[1", false},
	{rule_pipe, "pipe:[1]x", false},
	{rule_pipe, "pipe:[123456789012345678901]", false},
	{rule_pipe, "socket:[1]", false},
};

static void test_texts_keep_or_break_their_rule(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const char *complaint = cases[i].rule(cases[i].text);

		if ((complaint == NULL) != cases[i].keeps)
			fail_msg("case %zu '%s': %s", i, cases[i].text,
				 complaint ? complaint : "no complaint");
	}
}

static void test_path_of_path_max_is_too_long(void **state)
{
	char path[4097];

	(void)state;
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[4095] = '\0';
	assert_null(rule_absolute_path(path));
	assert_null(rule_relative_path(path + 1));
	path[4095] = 'a';
	path[4096] = '\0';
	assert_non_null(rule_absolute_path(path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts_keep_or_break_their_rule),
		cmocka_unit_test(test_path_of_path_max_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
