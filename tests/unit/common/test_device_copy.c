/* SPDX-License-Identifier: Apache-2.0 */
#include "common/device_copy.h"

#include "tests/lib/test.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

static void test_time_grows_with_the_bytes(void **state)
{
	(void)state;
	assert_int_equal(device_copy_ms(0), 0);
	assert_int_equal(device_copy_ms(1), 0);
	assert_int_equal(device_copy_ms(MIB), 2);
	assert_int_equal(device_copy_ms(512 * MIB), 1000);
	assert_int_equal(device_copy_ms(80 * GIB), 160000);
}

static void test_time_has_an_end(void **state)
{
	(void)state;
	assert_int_equal(device_copy_ms(150 * GIB), DEVICE_COPY_MAX_MS);
	assert_int_equal(device_copy_ms(151 * GIB), DEVICE_COPY_MAX_MS);
	assert_int_equal(device_copy_ms(UINT64_MAX), DEVICE_COPY_MAX_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_grows_with_the_bytes),
		cmocka_unit_test(test_time_has_an_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
