/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <signal.h>

#include "common/cleanup.h"
#include "common/parse.h"

#include "tests/lib/test.h"

static void test_numbers_are_taken_whole_or_not(void **state)
{
	static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x10", "1.0", "a"};
	uint64_t v = 0;

	(void)state;
	assert_int_equal(parse_u64("0", &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(parse_u64("007", &v), 0);
	assert_int_equal(v, 7);
	assert_int_equal(parse_u64("18446744073709551615", &v), 0);
	assert_true(v == UINT64_MAX);
	assert_int_equal(parse_u64("18446744073709551616", &v), -ERANGE);
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse_u64(bad[i], &v), -EINVAL);
	assert_true(v == UINT64_MAX); /* untouched by failures */
}

static void test_integers_keep_their_bounds(void **state)
{
	int v = 0;

	(void)state;
	assert_int_equal(parse_int("-5", -10, 10, &v), 0);
	assert_int_equal(v, -5);
	assert_int_equal(parse_int("10", -10, 10, &v), 0);
	assert_int_equal(parse_int("11", -10, 10, &v), -ERANGE);
	assert_int_equal(parse_int("-11", -10, 10, &v), -ERANGE);
	assert_int_equal(parse_int("2147483647", 0, INT_MAX, &v), 0);
	assert_int_equal(v, INT_MAX);
	assert_int_equal(parse_int("4294967297", 0, INT_MAX, &v), -ERANGE);
	assert_int_equal(parse_int("-", -10, 10, &v), -EINVAL);
	assert_int_equal(parse_int("--1", -10, 10, &v), -EINVAL);
}

static void test_durations_have_units_and_default_to_seconds(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = {{"0", 0},	    {"3", 3000},    {"250ms", 250},
		    {"10s", 10000}, {"2m", 120000}, {"1h", 3600000}};

	static const char *const bad[] = {"", "s", "-1s", "1.5s", "1 s", "1d", "1sm", "1S"};
	uint64_t v = 0;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(good); i++) {
		assert_int_equal(parse_duration_ms(good[i].text, &v), 0);
		assert_int_equal(v, good[i].ms);
	}
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse_duration_ms(bad[i], &v), -EINVAL);
	assert_int_equal(parse_duration_ms("18446744073709551615h", &v), -ERANGE);
}

static void test_sizes_are_powers_of_1024(void **state)
{
	uint64_t v = 0;

	(void)state;
	assert_int_equal(parse_size("4096", &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(parse_size("64K", &v), 0);
	assert_int_equal(v, 65536);
	assert_int_equal(parse_size("8G", &v), 0);
	assert_true(v == UINT64_C(8) << 30);
	assert_int_equal(parse_size("1.5M", &v), -EINVAL);
	assert_int_equal(parse_size("64k", &v), -EINVAL);
	assert_int_equal(parse_size("18446744073709551615G", &v), -ERANGE);
}

static void test_signals_have_names_and_numbers(void **state)
{
	static const char *const bad[] = {"",	   "0",	   "65",       "-1",	 "SIG",
					  "TERMX", "term", "RTMIN+99", "RTMINX", "RTMIN+"};
	int v = 0;

	(void)state;
	assert_int_equal(parse_signal("TERM", &v), 0);
	assert_int_equal(v, SIGTERM);
	assert_int_equal(parse_signal("SIGUSR1", &v), 0);
	assert_int_equal(v, SIGUSR1);
	assert_int_equal(parse_signal("9", &v), 0);
	assert_int_equal(v, SIGKILL);
	assert_int_equal(parse_signal("RTMIN", &v), 0);
	assert_int_equal(v, SIGRTMIN);
	assert_int_equal(parse_signal("RTMIN+3", &v), 0);
	assert_int_equal(v, SIGRTMIN + 3);
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(parse_signal(bad[i], &v), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers_are_taken_whole_or_not),
		cmocka_unit_test(test_integers_keep_their_bounds),
		cmocka_unit_test(test_durations_have_units_and_default_to_seconds),
		cmocka_unit_test(test_sizes_are_powers_of_1024),
		cmocka_unit_test(test_signals_have_names_and_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
