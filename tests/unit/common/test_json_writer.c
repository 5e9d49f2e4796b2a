/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "common/json_writer.h"

#include "tests/lib/test.h"

static void test_commas_and_brackets_are_put(void **state)
{
	struct json_writer w;
	char buf[256];

	(void)state;
	json_writer_init(&w, buf, sizeof(buf));
	json_open_object(&w, NULL);
	json_put_string(&w, "s", "v");
	json_put_uint(&w, "u", UINT64_MAX);
	json_put_int(&w, "i", INT64_MIN);
	json_open_array(&w, "a");
	json_put_bool(&w, NULL, true);
	json_open_object(&w, NULL);
	json_close_object(&w);
	json_put_bool(&w, NULL, false);
	json_close_array(&w);
	json_put_bool(&w, "b", false);
	json_close_object(&w);
	assert_false(w.full);
	assert_string_equal(buf, "{\"s\":\"v\",\"u\":18446744073709551615,"
				 "\"i\":-9223372036854775808,\"a\":[true,{},false],\"b\":false}");
	assert_int_equal(w.used, strlen(buf));
}

static void test_strings_are_escaped(void **state)
{
	struct json_writer w;
	char buf[128];

	(void)state;
	json_writer_init(&w, buf, sizeof(buf));
	json_open_object(&w, NULL);
	json_put_string(&w, "a\"b", "q\" b\\ n\n t\t \x01 \x7f \xc3\xa4");
	json_close_object(&w);
	assert_string_equal(buf,
			    "{\"a\\\"b\":\"q\\\" b\\\\ n\\n t\\u0009 \\u0001 \\u007f \xc3\xa4\"}");
}

static void test_full_buffer_is_told_and_never_overrun(void **state)
{
	(void)state;
	for (size_t size = 1; size < 40; size++) {
		struct json_writer w;
		char buf[64];

		memset(buf, '#', sizeof(buf));
		json_writer_init(&w, buf, size);
		json_open_object(&w, NULL);
		json_put_string(&w, "key", "some text\n");
		json_put_uint(&w, "n", 12345);
		json_close_object(&w);
		/* {"key":"some text\n","n":12345} and its NUL: 32 bytes */
		assert_int_equal(w.full, size < 32);
		assert_true(strlen(buf) < size);
		for (size_t i = size; i < sizeof(buf); i++)
			assert_int_equal(buf[i], '#');
	}
}

static const char *written(const char *text)
{
	static char buf[256];
	struct json_writer w;

	json_writer_init(&w, buf, sizeof(buf));
	json_put_string(&w, NULL, text);
	assert_false(w.full);
	return buf;
}

static void test_what_is_no_utf8_or_a_control_is_replaced(void **state)
{
	static const char *const cases[][2] = {
		{"\xff", "\\ufffd"},
		{"a\xc3", "a\\ufffd"}, /* its end is missing */
		{"\xc3(", "\\ufffd("},
		{"\x80\xbf", "\\ufffd\\ufffd"},
		{"\xc0\xaf", "\\ufffd\\ufffd"}, /* too long a form of '/' */
		{"\xe0\x80\x80", "\\ufffd\\ufffd\\ufffd"},
		{"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},	      /* a surrogate */
		{"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* beyond U+10FFFF */
		{"\xf8\x88\x80\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd"},
		{"\xc2\x9b"
		 "31m",
		 "\\u009b31m"}, /* C1: a terminal's CSI */
		{"\xc2\x80\xc2\xa0", "\\u0080\xc2\xa0"},
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x99\x82"},
		{"\xf4\x8f\xbf\xbf\xed\x9f\xbf", "\xf4\x8f\xbf\xbf\xed\x9f\xbf"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char expected[256];

		(void)snprintf(expected, sizeof(expected), "\"%s\"", cases[i][1]);
		assert_string_equal(written(cases[i][0]), expected);
	}
}

static const char *cut(const char *text, size_t max)
{
	static char buf[256];
	struct json_writer w;

	json_writer_init(&w, buf, sizeof(buf));
	json_open_array(&w, NULL);
	json_put_string_cut(&w, NULL, text, max);
	json_close_array(&w);
	assert_false(w.full);
	assert_int_equal(w.used, strlen(buf));
	assert_true(w.used <= max + strlen("[\"\"]"));
	return buf;
}

static void test_what_is_cut_ends_with_the_mark_and_no_half_character(void **state)
{
	(void)state;
	assert_string_equal(cut("abcdefgh", 8), "[\"abcdefgh\"]");
	assert_string_equal(cut("abcdefgh", 7), "[\"abcd" JSON_CUT_MARK "\"]");
	assert_string_equal(cut("abc\xc3\xa4\xc3\xa4h", 7), "[\"abc" JSON_CUT_MARK "\"]");
	assert_string_equal(cut("a\x01"
				"abcdef",
				12),
			    "[\"a\\u0001"
			    "ab" JSON_CUT_MARK "\"]");
	assert_string_equal(cut("a\x01"
				"abcdef",
				9),
			    "[\"a" JSON_CUT_MARK "\"]");
	assert_string_equal(cut("abcdefgh", 3), "[\"" JSON_CUT_MARK "\"]");
	assert_string_equal(cut("abcdefgh", 2), "[\"ab\"]"); /* no room for a mark */
	assert_string_equal(cut("", 0), "[\"\"]");
	for (size_t max = 0; max < 40; max++)
		(void)cut("\xff\xc3\xa4\x01\"\\\n\xf0\x9f\x99\x82\xff\xff\xff", max);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commas_and_brackets_are_put),
		cmocka_unit_test(test_strings_are_escaped),
		cmocka_unit_test(test_full_buffer_is_told_and_never_overrun),
		cmocka_unit_test(test_what_is_no_utf8_or_a_control_is_replaced),
		cmocka_unit_test(test_what_is_cut_ends_with_the_mark_and_no_half_character),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
