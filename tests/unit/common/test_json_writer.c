/* SPDX-License-Identifier: Apache-2.0 */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commas_and_brackets_are_put),
		cmocka_unit_test(test_strings_are_escaped),
		cmocka_unit_test(test_full_buffer_is_told_and_never_overrun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
