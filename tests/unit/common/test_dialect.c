/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "common/cleanup.h"
#include "common/dialect.h"

#include "tests/lib/test.h"

static void test_name_of_the_program_chooses(void **state)
{
	static const struct {
		const char *path;
		enum dialect dialect;
	} cases[] = {
		{"tini", DIALECT_TINI},
		{"/tini", DIALECT_TINI},
		{"/usr/bin/tini-static", DIALECT_TINI},
		{"/sbin/docker-init", DIALECT_TINI},
		{"/usr/bin/dumb-init", DIALECT_DUMB_INIT},
		{"./catatonit", DIALECT_CATATONIT},
		{"snapinit", DIALECT_NONE},
		{"/tini/snapinit", DIALECT_NONE},
		{"tini/", DIALECT_NONE},
		{"tini2", DIALECT_NONE},
		{"init", DIALECT_NONE},
		{"", DIALECT_NONE},
		{NULL, DIALECT_NONE},
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(dialect_of_program(cases[i].path), cases[i].dialect);
}

static void test_words(void **state)
{
	enum dialect dialect = DIALECT_DUMB_INIT;

	(void)state;
	assert_int_equal(dialect_parse("", &dialect), 0);
	assert_int_equal(dialect, DIALECT_TINI);
	assert_int_equal(dialect_parse("dumb-init", &dialect), 0);
	assert_int_equal(dialect, DIALECT_DUMB_INIT);
	assert_int_equal(dialect_parse("none", &dialect), 0);
	assert_int_equal(dialect, DIALECT_NONE);
	assert_int_equal(dialect_parse("/tini", &dialect), -EINVAL);
	assert_int_equal(dialect_parse("systemd", &dialect), -EINVAL);
	assert_int_equal(dialect, DIALECT_NONE);
}

static void test_usage_errors_exit_as_theirs(void **state)
{
	(void)state;
	assert_int_equal(dialect_usage_status(DIALECT_NONE), 125);
	assert_int_equal(dialect_usage_status(DIALECT_TINI), 1);
	assert_int_equal(dialect_usage_status(DIALECT_DUMB_INIT), 1);
	assert_int_equal(dialect_usage_status(DIALECT_CATATONIT), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_name_of_the_program_chooses),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_usage_errors_exit_as_theirs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
