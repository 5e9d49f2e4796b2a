/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/output.h"
#include "common/cleanup.h"

#include "tests/lib/test.h"

static char captured[4096];

/* what fn prints to fd (1 or 2), in `captured` */
static void capture(int fd, void (*fn)(void))
{
	FILE *stream = fd == STDOUT_FILENO ? stdout : stderr;
	FILE *file = tmpfile();
	int saved;
	ssize_t n;

	assert_non_null(file);
	(void)fflush(stream);
	saved = dup(fd);
	assert_true(saved >= 0);
	assert_int_equal(dup2(fileno(file), fd), fd);
	fn();
	(void)fflush(stream);
	assert_int_equal(dup2(saved, fd), fd);
	(void)close(saved);
	n = pread(fileno(file), captured, sizeof(captured) - 1, 0);
	assert_true(n >= 0);
	captured[n] = '\0';
	(void)fclose(file);
}

static void fail_with_controls(void)
{
	struct snap_error err = {.code = SNAP_E_CORRUPT};

	(void)snprintf(err.msg, sizeof(err.msg),
		       "\xc2\x9b"
		       "2J \033[1m \xff n\xc3\xa4h");
	(void)output_failure("verb", &err);
	output_warning("%s", err.msg);
	output_progress("%s", err.msg);
}

static void test_what_others_named_reaches_no_terminal_raw(void **state)
{
	(void)state;
	capture(STDERR_FILENO, fail_with_controls);
	assert_string_equal(captured, "snapctl: verb: ??2J ?[1m ? n\xc3\xa4h\n"
				      "snapctl: warning: ??2J ?[1m ? n\xc3\xa4h\n"
				      "snapctl: ??2J ?[1m ? n\xc3\xa4h\n");
}

static void test_sizes_are_short_and_never_round_up_to_1024(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"},
		{1023, "1023 B"},
		{1024, "1.0 KiB"},
		{1536, "1.5 KiB"},
		{1048575, "1.0 MiB"},
		{9 * 1024 * 1024 + 1, "9.0 MiB"},
		{UINT64_MAX, "16.0 EiB"},
	};

	char buf[OUTPUT_SIZE_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_string_equal(output_size(cases[i].bytes, buf), cases[i].text);
}

static void test_durations_change_their_unit_at_ten_seconds(void **state)
{
	char buf[OUTPUT_SIZE_MAX];

	(void)state;
	assert_string_equal(output_duration(0, buf), "0 ms");
	assert_string_equal(output_duration(9999, buf), "9999 ms");
	assert_string_equal(output_duration(10000, buf), "10.0 s");
	assert_string_equal(output_duration(12345, buf), "12.3 s");
}

static void test_shell_words_are_quoted_when_they_must_be(void **state)
{
	char buf[64];

	(void)state;
	output_shell_word("--port=8080", buf, sizeof(buf));
	assert_string_equal(buf, "--port=8080");
	output_shell_word("", buf, sizeof(buf));
	assert_string_equal(buf, "''");
	output_shell_word("a b", buf, sizeof(buf));
	assert_string_equal(buf, "'a b'");
	output_shell_word("it's", buf, sizeof(buf));
	assert_string_equal(buf, "'it'\\''s'");
	output_shell_word("\x1b[2J", buf, sizeof(buf));
	assert_string_equal(buf, "'?[2J'");
}

static void test_long_shell_word_stays_in_its_buffer(void **state)
{
	char word[256], buf[32];

	(void)state;
	memset(word, '\'', sizeof(word) - 1);
	word[sizeof(word) - 1] = '\0';
	memset(buf, 'x', sizeof(buf));
	output_shell_word(word, buf, sizeof(buf) - 1);
	assert_non_null(memchr(buf, '\0', sizeof(buf) - 1));
	assert_true(buf[sizeof(buf) - 1] == 'x');
}

static void tell_progress(void)
{
	output_progress("boot: %s", "engine");
}

static void test_progress_is_one_line_on_stderr(void **state)
{
	(void)state;
	capture(STDERR_FILENO, tell_progress);
	assert_string_equal(captured, "snapctl: boot: engine\n");
}

static void test_quiet_silences_progress(void **state)
{
	(void)state;
	output_set_quiet(true);
	capture(STDERR_FILENO, tell_progress);
	output_set_quiet(false);
	assert_string_equal(captured, "");
}

static int last_status;

static void fail_usage(void)
{
	struct snap_error err = {.code = SNAP_OK};

	(void)snap_fail(&err, SNAP_E_USAGE, EINVAL, "--for: 'x' is none");
	last_status = output_failure("create", &err);
}

static void test_usage_error_is_one_line_without_errno_noise(void **state)
{
	(void)state;
	capture(STDERR_FILENO, fail_usage);
	assert_string_equal(captured, "snapctl: create: --for: 'x' is none\n");
	assert_int_equal(last_status, 2);
}

static void fail_corrupt(void)
{
	struct snap_error err = {.code = SNAP_OK};

	(void)snap_fail(&err, SNAP_E_CORRUPT, ENOENT, "'a'");
	last_status = output_failure(NULL, &err);
}

static void test_other_failures_keep_their_errno(void **state)
{
	(void)state;
	capture(STDERR_FILENO, fail_corrupt);
	assert_string_equal(captured, "snapctl: 'a': No such file or directory\n");
	assert_int_equal(last_status, 5);
}

static void test_with_json_a_failure_is_a_result_too(void **state)
{
	json_t *value;

	(void)state;
	output_set_json(true);
	capture(STDOUT_FILENO, fail_corrupt);
	output_set_json(false);
	value = json_loads(captured, 0, NULL);
	assert_non_null(value);
	assert_string_equal(json_string_value(json_object_get(value, "schema")),
			    "snapctl.error/v1");
	assert_string_equal(json_string_value(json_object_get(value, "code")), "corrupt");
	json_decref(value);
}

static void print_object(void)
{
	assert_int_equal(
		output_json(json_pack("{s:s, s:i, s:i}", "schema", "x/v1", "b", 2, "a", 1), NULL),
		0);
}

static void test_json_keeps_the_order_of_its_keys(void **state)
{
	(void)state;
	capture(STDOUT_FILENO, print_object);
	assert_string_equal(captured, "{\n  \"schema\": \"x/v1\",\n  \"b\": 2,\n  \"a\": 1\n}\n");
}

static void test_json_without_memory_is_a_failure(void **state)
{
	struct snap_error err = {.code = SNAP_OK};

	(void)state;
	assert_true(output_json(NULL, &err) < 0);
	assert_int_equal(err.code, SNAP_E_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_others_named_reaches_no_terminal_raw),
		cmocka_unit_test(test_sizes_are_short_and_never_round_up_to_1024),
		cmocka_unit_test(test_durations_change_their_unit_at_ten_seconds),
		cmocka_unit_test(test_shell_words_are_quoted_when_they_must_be),
		cmocka_unit_test(test_long_shell_word_stays_in_its_buffer),
		cmocka_unit_test(test_progress_is_one_line_on_stderr),
		cmocka_unit_test(test_quiet_silences_progress),
		cmocka_unit_test(test_usage_error_is_one_line_without_errno_noise),
		cmocka_unit_test(test_other_failures_keep_their_errno),
		cmocka_unit_test(test_with_json_a_failure_is_a_result_too),
		cmocka_unit_test(test_json_keeps_the_order_of_its_keys),
		cmocka_unit_test(test_json_without_memory_is_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
