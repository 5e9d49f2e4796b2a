/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "common/cleanup.h"
#include "common/similar.h"

#include "tests/lib/test.h"

static const char *best(const char *word)
{
	static const char *const known[] = {"accept", "capture", "capture-timeout",
					    "gc",     "ps",	 "verify"};
	struct similar similar;

	similar_init(&similar, word, strlen(word));
	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		similar_try(&similar, known[i]);
	return similar.best;
}

static void test_a_slip_finds_the_word(void **state)
{
	(void)state;
	assert_string_equal(best("acept"), "accept");
	assert_string_equal(best("vreify"), "verify");
	assert_string_equal(best("captur"), "capture");
	assert_string_equal(best("capture-t"), "capture-timeout");
	assert_string_equal(best("gx"), "gc");
}

static void test_another_word_finds_nothing(void **state)
{
	(void)state;
	assert_null(best("snapshot"));
	assert_null(best(""));
	assert_null(best("xyz"));
	assert_null(best("ax"));
	assert_null(best("an-option-that-is-much-longer-than-any-that-there-could-be"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_slip_finds_the_word),
		cmocka_unit_test(test_another_word_finds_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
