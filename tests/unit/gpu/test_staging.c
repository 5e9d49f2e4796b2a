/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/gpu/staging.h"

#include "tests/lib/test.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

struct difference {
	struct manifest_gpu gpu;
	uint64_t bytes;
};

static struct difference differ(const struct address_range *before, size_t n_before,
				const struct address_range *after, size_t n_after)
{
	struct address_range old[8], now[8];
	struct address_ranges a = {.items = old, .n = n_before}, b = {.items = now, .n = n_after};
	struct difference d = {0};

	memcpy(old, before, n_before * sizeof(*before));
	memcpy(now, after, n_after * sizeof(*after));
	assert_int_equal(staging_difference(&a, &b, 1000, &d.gpu, &d.bytes), 0);
	return d;
}

static void assert_part(const struct difference *d, size_t i, uint64_t start, uint64_t end)
{
	assert_true(i < d->gpu.n_staging);
	assert_int_equal(d->gpu.staging[i].pid, 1000);
	assert_true(d->gpu.staging[i].start == start && d->gpu.staging[i].end == end);
}

static void test_new_mapping_between_old_ones(void **state)
{
	static const struct address_range before[] = {{0x1000, 0x3000}, {0x9000, 0xa000}};
	static const struct address_range after[] = {
		{0x1000, 0x3000}, {0x5000, 0x8000}, {0x9000, 0xa000}};
	struct difference d = differ(before, LEN(before), after, LEN(after));

	(void)state;
	assert_int_equal(d.gpu.n_staging, 1);
	assert_part(&d, 0, 0x5000, 0x8000);
	assert_int_equal(d.bytes, 0x3000);
	free(d.gpu.staging);
}

/* the kernel has merged the new ones with what was there */
static void test_merged_with_neighbours(void **state)
{
	static const struct address_range before[] = {{0x3000, 0x4000}, {0x6000, 0x7000}};
	static const struct address_range after[] = {{0x1000, 0x9000}};
	struct difference d = differ(before, LEN(before), after, LEN(after));

	(void)state;
	assert_int_equal(d.gpu.n_staging, 3);
	assert_part(&d, 0, 0x1000, 0x3000);
	assert_part(&d, 1, 0x4000, 0x6000);
	assert_part(&d, 2, 0x7000, 0x9000);
	assert_int_equal(d.bytes, 0x6000);
	free(d.gpu.staging);
}

static void test_what_went_away_is_not_of_interest(void **state)
{
	static const struct address_range before[] = {{0x1000, 0x9000}, {0xb000, 0xc000}};
	static const struct address_range after[] = {{0x1000, 0x2000}, {0x8000, 0x9000}};
	struct difference d = differ(before, LEN(before), after, LEN(after));

	(void)state;
	assert_int_equal(d.gpu.n_staging, 0);
	assert_int_equal(d.bytes, 0);
}

static void test_a_process_that_maps_memory(void **state)
{
	struct address_ranges before, after;
	struct manifest_gpu gpu = {0};
	size_t size = 4 << 20;
	uint64_t bytes;
	char *memory, *unreadable;

	(void)state;
	assert_int_equal(staging_look(getpid(), &before, NULL), 0);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unreadable = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(memory != MAP_FAILED && unreadable != MAP_FAILED);
	assert_int_equal(staging_look(getpid(), &after, NULL), 0);
	assert_int_equal(staging_difference(&before, &after, getpid(), &gpu, &bytes), 0);
	/* reading the mappings may have made the heap a little larger */
	assert_true(bytes >= size && bytes < size + size / 2);
	address_ranges_done(&before);
	address_ranges_done(&after);
	free(gpu.staging);
	assert_int_equal(munmap(memory, size), 0);
	assert_int_equal(munmap(unreadable, size), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_new_mapping_between_old_ones),
		cmocka_unit_test(test_merged_with_neighbours),
		cmocka_unit_test(test_what_went_away_is_not_of_interest),
		cmocka_unit_test(test_a_process_that_maps_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
