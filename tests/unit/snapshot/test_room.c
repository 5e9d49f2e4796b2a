/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "snapshot/room.h"

#include "tests/lib/test.h"

#define MIB (1ULL << 20)
#define GIB (1ULL << 30)

static void test_on_a_disk_the_snapshot_takes_no_memory(void **state)
{
	struct room_load load = {.stored_bytes = GIB};

	(void)state;
	/* 8 MiB: pages.map of the worst memory there is */
	assert_int_equal(room_needed(&load), ROOM_WORKSPACE + 8 * MIB);
}

static void test_on_a_tmpfs_the_snapshot_is_memory(void **state)
{
	struct room_load load = {.stored_bytes = GIB, .store_is_memory = true};

	(void)state;
	assert_int_equal(room_needed(&load), ROOM_WORKSPACE + 8 * MIB + GIB);
}

static void test_device_memory_is_put_into_the_tree_and_then_stored(void **state)
{
	struct room_load load = {.stored_bytes = GIB, .device_bytes = 3 * GIB};

	(void)state;
	assert_int_equal(room_needed(&load), ROOM_WORKSPACE + 32 * MIB + 3 * GIB);
	load.store_is_memory = true;
	assert_int_equal(room_needed(&load), ROOM_WORKSPACE + 32 * MIB + 7 * GIB);
}

static void test_sums_beyond_64_bits_are_too_much_and_not_little(void **state)
{
	struct room_load load = {.stored_bytes = UINT64_MAX - 5,
				 .device_bytes = UINT64_MAX - 5,
				 .store_is_memory = true};

	(void)state;
	assert_int_equal(room_needed(&load), UINT64_MAX);
}

static void test_the_last_byte_counts(void **state)
{
	struct room_load load = {.stored_bytes = 128 * MIB};
	struct snap_error err = {0};
	uint64_t left = 1;

	(void)state;
	assert_int_equal(room_check(&load, GIB, 65 * MIB, &left, &err), 0);
	assert_int_equal(left, 0);
	assert_int_equal(room_check(&load, GIB, 65 * MIB - 1, &left, &err), -ENOMEM);
	assert_int_equal(err.code, SNAP_E_PREFLIGHT);
	assert_string_equal(err.msg, "memory: 64 MiB available of 1024 MiB, a capture needs 65 MiB "
				     "beside the engine (remedy: a higher memory limit)");
}

static void test_a_refusal_says_what_a_tmpfs_costs(void **state)
{
	struct room_load load = {.stored_bytes = 128 * MIB, .store_is_memory = true};
	struct snap_error err = {0};
	uint64_t left;

	(void)state;
	assert_int_equal(room_check(&load, GIB, 65 * MIB, &left, &err), -ENOMEM);
	assert_non_null(strstr(err.msg, "needs 193 MiB"));
	assert_non_null(strstr(err.msg, "takes 128 MiB because the store is on a tmpfs"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_on_a_disk_the_snapshot_takes_no_memory),
		cmocka_unit_test(test_on_a_tmpfs_the_snapshot_is_memory),
		cmocka_unit_test(test_device_memory_is_put_into_the_tree_and_then_stored),
		cmocka_unit_test(test_sums_beyond_64_bits_are_too_much_and_not_little),
		cmocka_unit_test(test_the_last_byte_counts),
		cmocka_unit_test(test_a_refusal_says_what_a_tmpfs_costs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
