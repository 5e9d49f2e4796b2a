/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "cli/passthrough.h"

#include "tests/lib/test.h"

struct target {
	const char *rights;
	const char *user;
	bool no_wake;
};

static const struct option_def defs[] = {
	{"for", 0, OPTION_STRING, offsetof(struct target, rights), NULL, "SET", .help = ""},
	{"user", 'u', OPTION_STRING, offsetof(struct target, user), NULL, "USER", .help = ""},
	{"no-wake", 'n', OPTION_FLAG, offsetof(struct target, no_wake), NULL, NULL, .help = ""},
	{.name = NULL},
};

#define WORDS_MAX 16

static char storage[512];
static char *line[WORDS_MAX];
static int n_line;

/* words separated by blanks, as argv */
static void set_line(const char *text)
{
	char *save = NULL;

	(void)strcpy(storage, text);
	n_line = 0;
	for (char *w = strtok_r(storage, " ", &save); w; w = strtok_r(NULL, " ", &save))
		line[n_line++] = w;
	line[n_line] = NULL;
}

static void assert_words(char *const *words, const char *expected)
{
	char text[512] = "";

	for (size_t i = 0; words[i]; i++) {
		if (i > 0)
			(void)strcat(text, " ");
		(void)strcat(text, words[i]);
	}
	assert_string_equal(text, expected);
}

static void check(const char *text, const char *own, const char *rest, const char *command)
{
	struct passthrough words;

	set_line(text);
	assert_int_equal(passthrough_split(defs, n_line, line, &words, NULL), 0);
	assert_words(words.own, own);
	assert_words(words.rest, rest);
	assert_words(words.command, command);
	passthrough_done(&words);
}

static void test_ours_are_taken_out_and_the_rest_is_passed_on(void **state)
{
	(void)state;
	check("run --for docker --ready http://h:1/x --no-wake --grace 3s -- cmd -a",
	      "run --for docker --no-wake", "--ready http://h:1/x --grace 3s", "cmd -a");
}

static void test_values_may_be_attached(void **state)
{
	(void)state;
	check("run --for=docker -u1000 -n --ready=fd -- cmd", "run --for=docker -u1000 -n",
	      "--ready=fd", "cmd");
}

static void test_value_of_ours_may_look_like_an_option(void **state)
{
	(void)state;
	check("run --user -- -- cmd", "run --user --", "", "cmd");
}

static void test_longer_name_is_not_ours(void **state)
{
	(void)state;
	check("run --forever --no-wakeup -- cmd", "run", "--forever --no-wakeup", "cmd");
}

static void test_without_foreign_options_the_command_needs_no_dashes(void **state)
{
	(void)state;
	check("run --for full sh -c x -- y", "run --for full", "", "sh -c x -- y");
}

static void test_words_of_the_command_are_never_ours(void **state)
{
	(void)state;
	check("run -- cmd --for docker -- z", "run", "", "cmd --for docker -- z");
}

static void test_behind_foreign_options_the_dashes_are_demanded(void **state)
{
	struct snap_error err = {.code = SNAP_OK};
	struct passthrough words;

	(void)state;
	set_line("run --ready fd cmd");
	assert_int_equal(passthrough_split(defs, n_line, line, &words, &err), -EINVAL);
	assert_int_equal(err.code, SNAP_E_USAGE);
	assert_non_null(strstr(err.msg, "--"));
}

static void test_missing_command_is_an_empty_one(void **state)
{
	(void)state;
	check("run --for full", "run --for full", "", "");
	check("run --ready fd --", "run", "--ready fd", "");
}

static void test_missing_value_is_left_to_the_parser(void **state)
{
	struct target target = {.rights = NULL};
	struct snap_error err = {.code = SNAP_OK};
	struct passthrough words;
	int next;

	(void)state;
	set_line("run --for");
	assert_int_equal(passthrough_split(defs, n_line, line, &words, NULL), 0);
	assert_true(options_parse(defs, &target, words.n_own, words.own, &next, &err) < 0);
	passthrough_done(&words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ours_are_taken_out_and_the_rest_is_passed_on),
		cmocka_unit_test(test_values_may_be_attached),
		cmocka_unit_test(test_value_of_ours_may_look_like_an_option),
		cmocka_unit_test(test_longer_name_is_not_ours),
		cmocka_unit_test(test_without_foreign_options_the_command_needs_no_dashes),
		cmocka_unit_test(test_words_of_the_command_are_never_ours),
		cmocka_unit_test(test_behind_foreign_options_the_dashes_are_demanded),
		cmocka_unit_test(test_missing_command_is_an_empty_one),
		cmocka_unit_test(test_missing_value_is_left_to_the_parser),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
