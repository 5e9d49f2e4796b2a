/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/text.h"

#include "tests/lib/test.h"

static void test_controls_and_no_utf8_become_question_marks(void **state)
{
	static const char *const cases[][2] = {
		{"plain ~", "plain ~"},
		{"a\033[2J\nb\tc\x7f", "a?[2J?b?c?"},
		{"\xc2\x9b"
		 "31m\xc2\x80\xc2\x9f",
		 "??31m????"},
		{"\xc2\xa0\xc3\xa4\xe2\x82\xac", "\xc2\xa0\xc3\xa4\xe2\x82\xac"},
		{"\x9b"
		 "2J",
		 "?2J"}, /* C1 to a terminal that does not speak UTF-8 */
		{"cut \xe2\x82", "cut ??"},
		{"\xc0\x9b", "??"},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char text[64];

		(void)snprintf(text, sizeof(text), "%s", cases[i][0]);
		text_make_printable(text);
		assert_string_equal(text, cases[i][1]);
	}
}

static void test_every_character_has_its_size(void **state)
{
	(void)state;
	for (unsigned int code = 1; code <= 0x10ffff; code += code < 0x1000 ? 1 : 0x101) {
		char text[5] = "";
		size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
		static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
		unsigned int rest = code;

		for (size_t i = size - 1; i > 0; i--, rest >>= 6)
			text[i] = (char)(0x80 | (rest & 0x3f));
		text[0] = (char)(marks[size] | rest);
		assert_int_equal(text_char_size(text), code >= 0xd800 && code < 0xe000 ? 0 : size);
		text[size - 1] = '\0';
		if (size > 1)
			assert_int_equal(text_char_size(text), 0);
	}
	assert_int_equal(text_char_size(""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_controls_and_no_utf8_become_question_marks),
		cmocka_unit_test(test_every_character_has_its_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
