/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <unistd.h>

#include "common/clock.h"

#include "tests/lib/test.h"

static void test_clock_does_not_go_back(void **state)
{
	uint64_t before = clock_now_ns();

	(void)state;
	(void)usleep(2000);
	assert_true(clock_now_ns() >= before + 2 * NS_PER_MS);
}

static void test_deadline_is_that_far_away(void **state)
{
	uint64_t deadline = deadline_after_ms(5000);
	int left = deadline_left_ms(deadline);

	(void)state;
	assert_true(left > 4000 && left <= 5000);
}

static void test_passed_deadline_has_nothing_left(void **state)
{
	(void)state;
	assert_int_equal(deadline_left_ms(0), 0);
	assert_int_equal(deadline_left_ms(clock_now_ns()), 0);
}

static void test_left_time_is_rounded_up(void **state)
{
	(void)state;
	assert_true(deadline_left_ms(clock_now_ns() + 1000000000) >= 999);
	/* less than a millisecond must not become a busy loop */
	assert_in_range(deadline_left_ms(clock_now_ns() + 900000), 0, 1);
}

static void test_never_stays_never(void **state)
{
	(void)state;
	assert_int_equal(deadline_left_ms(DEADLINE_NEVER), -1);
	assert_true(deadline_after_ms(UINT64_MAX) == DEADLINE_NEVER);
	assert_true(deadline_after_ms(UINT64_MAX / NS_PER_MS) == DEADLINE_NEVER);
}

static void test_far_deadline_fits_poll(void **state)
{
	(void)state;
	assert_int_equal(deadline_left_ms(DEADLINE_NEVER - 1), INT_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clock_does_not_go_back),
		cmocka_unit_test(test_deadline_is_that_far_away),
		cmocka_unit_test(test_passed_deadline_has_nothing_left),
		cmocka_unit_test(test_left_time_is_rounded_up),
		cmocka_unit_test(test_never_stays_never),
		cmocka_unit_test(test_far_deadline_fits_poll),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
