/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/restore.h"

#include "tests/lib/test.h"

static uint64_t budget_of(uint64_t cold_boot_ms)
{
	const struct manifest m = {.cold_boot_ms = cold_boot_ms};

	return restore_budget_ms(&m);
}

static void test_half_a_cold_boot_within_limits(void **state)
{
	(void)state;
	assert_int_equal(budget_of(100000), 50000);
	assert_int_equal(budget_of(10002), 5001);
	assert_int_equal(budget_of(1), RESTORE_BUDGET_MIN_MS);
	assert_int_equal(budget_of(1200000), 600000);
	/* a model that was fetched, or an old manifest with an uptime in it */
	assert_int_equal(budget_of(1200002), RESTORE_BUDGET_MAX_MS);
	assert_int_equal(budget_of(UINT64_MAX), RESTORE_BUDGET_MAX_MS);
	assert_int_equal(budget_of(0), RESTORE_BUDGET_UNKNOWN_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_half_a_cold_boot_within_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
