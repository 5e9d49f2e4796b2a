/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "init/init_options.h"

#include "tests/lib/test.h"

#define W(text) ((char *)(uintptr_t)(text))

static struct init_options options;
static struct snap_error err;

static int parse(char **words)
{
	int argc = 0;

	while (words[argc])
		argc++;
	return init_options_parse(&options, argc, words, &err);
}

#define PARSE(...) parse((char *[]){W("snapinit"), __VA_ARGS__, NULL})

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("cmd"), W("-x")), 0);
	assert_string_equal(options.argv[0], "cmd");
	assert_string_equal(options.argv[1], "-x");
	assert_null(options.argv[2]);
	assert_null(options.snapshot);
	assert_int_equal(options.grace_ms, 0); /* as tini: the platform ends it */
	assert_int_equal(options.capture, CAPTURE_NEVER);
	assert_int_equal(options.capture_timeout_ms, 600000);
	assert_int_equal(options.wake_timeout_ms, 0);
	assert_int_equal(options.pid_base, 1000);
	assert_int_equal(options.notify_fd, 3);
	assert_int_equal(options.ready_kind, READY_BY_WORKER);
	assert_false(options.fallback_none || options.exit_when_ready || options.kill_group);
}

static void test_plain_mode_is_quieter(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_WARN);
	assert_int_equal(PARSE(W("-v"), W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_INFO);
	assert_int_equal(PARSE(W("-vvvvvvvv"), W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(PARSE(W("--snapshot"), W("/s"), W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_INFO);
	assert_int_equal(PARSE(W("--snapshot=/s"), W("--log-level=error"), W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_ERROR);
}

static void test_words_are_understood(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("--snapshot=/s"), W("--capture=first-boot"), W("--fallback=none"),
			       W("--ready=fd"), W("--log-format=json"), W("cmd")),
			 0);
	assert_int_equal(options.capture, CAPTURE_FIRST_BOOT);
	assert_true(options.fallback_none);
	assert_int_equal(options.ready_kind, READY_FD);
	assert_int_equal(options.log_format, LOG_FORMAT_JSON);
	assert_int_equal(
		PARSE(W("--snapshot=/s"), W("--capture=exit"), W("--ready=notify"), W("cmd")), 0);
	assert_int_equal(options.capture, CAPTURE_EXIT);
	assert_int_equal(options.ready_kind, READY_NOTIFY);
}

static void test_nonsense_is_refused_in_one_line(void **state)
{
	static const char *const bad[][2] = {
		{"--capture=maybe", "--capture"},
		{"--fallback=warm", "--fallback"},
		{"--log-level=loud", "--log-level"},
		{"--log-format=xml", "--log-format"},
		{"--pid-base=1", "--pid-base"},
		{"--pid-base=9999999", "--pid-base"},
		{"--notify-fd=2", "--notify-fd"},
		{"--capture=exit", "needs --snapshot"},
		{"--exit-when-ready", "needs --snapshot"},
		{"--fallback=none", "needs --snapshot"},
		{"--", "no command"},
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		char *command = strcmp(bad[i][0], "--") == 0 ? NULL : W("cmd");

		assert_int_equal(PARSE(W(bad[i][0]), command), -EINVAL);
		assert_int_equal(err.code, SNAP_E_USAGE);
		assert_non_null(strstr(err.msg, bad[i][1]));
		assert_null(strchr(err.msg, '\n'));
	}
}

static void test_help_and_version_need_no_command(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("--help")), 0);
	assert_true(options.help);
	assert_int_equal(PARSE(W("--version"), W("--capture=maybe")), 0);
	assert_true(options.version);
}

static void test_environment_counts(void **state)
{
	(void)state;
	assert_int_equal(setenv("SNAPINIT_SNAPSHOT", "/from/env", 1), 0);
	assert_int_equal(setenv("SNAPINIT_KILL_GROUP", "1", 1), 0);
	assert_int_equal(PARSE(W("cmd")), 0);
	assert_string_equal(options.snapshot, "/from/env");
	assert_true(options.kill_group);
	assert_int_equal(unsetenv("SNAPINIT_SNAPSHOT"), 0);
	assert_int_equal(unsetenv("SNAPINIT_KILL_GROUP"), 0);
}

static void test_help_tells_exit_statuses_and_twins(void **state)
{
	snap_cleanup_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	init_options_print_help(out);
	init_options_print_version(out);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "222 no wake"));
	assert_non_null(strstr(text, "[SNAPINIT_WAKE_TIMEOUT]"));
	assert_non_null(strstr(text, "snapinit " SNAP_VERSION "\n+wake"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_plain_mode_is_quieter),
		cmocka_unit_test(test_words_are_understood),
		cmocka_unit_test(test_nonsense_is_refused_in_one_line),
		cmocka_unit_test(test_help_and_version_need_no_command),
		cmocka_unit_test(test_environment_counts),
		cmocka_unit_test(test_help_tells_exit_statuses_and_twins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
