/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "cli/pages_report.h"

#include "tests/lib/test.h"

#define KIB(n) ((uint64_t)(n) << 10)

/* a process with two mappings that share a chunk, an object, and a twin of its data */
static void make_map(struct page_map *map)
{
	const struct page_space spaces[] = {
		{.kind = PAGE_SPACE_TASK, .pid = 1000, .fd = -1, .n_chunks = 1},
		{.kind = PAGE_SPACE_SHARED,
		 .pid = 1000,
		 .fd = 5,
		 .first_chunk = 1,
		 .n_chunks = 2,
		 .object_bytes = KIB(16)},
	};
	const struct page_chunk chunks[] = {
		{.stored_bytes = 4000, .bytes = 16384, .n_extents = 2, .codec = PAGE_CODEC_LZ4},
		{.offset = 4096,
		 .stored_bytes = 4096,
		 .bytes = 4096,
		 .space = 1,
		 .first_extent = 2,
		 .n_extents = 1},
		{.offset = 4096,
		 .stored_bytes = 4096,
		 .bytes = 4096,
		 .space = 1,
		 .first_extent = 3,
		 .n_extents = 1},
	};
	const struct page_extent extents[] = {
		{.address = 0x10000, .n_pages = 1},
		{.address = 0x20000, .n_pages = 3},
		{.address = 0, .n_pages = 1},
		{.address = 0x2000, .n_pages = 1},
	};
	const struct page_region regions[] = {
		{.start = 0x10000, .end = 0x11000, .pid = 1000, .stored_bytes = KIB(4)},
		{.start = 0, .end = KIB(16), .pid = 1000, .shared = 1, .stored_bytes = KIB(8)},
		{.start = 0x20000,
		 .end = 0x40000,
		 .pid = 1000,
		 .stored_bytes = KIB(12),
		 .zero_bytes = KIB(4),
		 .kept_bytes = KIB(8),
		 .kept = PAGE_KEPT_STACK | PAGE_KEPT_COW,
		 .name = "a\xff\n"},
	};

	*map = (struct page_map){.data_bytes = 8192};
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(page_map_add_space(map, &spaces[i]), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(page_map_add_chunk(map, &chunks[i]), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(page_map_add_extent(map, &extents[i]), 0);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(page_map_add_region(map, &regions[i]), 0);
	assert_int_equal(page_map_check(map, NULL), 0);
}

static void test_bytes_of_the_file_go_to_their_mappings(void **state)
{
	struct pages_report report;
	struct page_map map;

	(void)state;
	make_map(&map);
	assert_int_equal(pages_report_make(&map, &report), 0);
	assert_int_equal(report.memory_bytes, 16384 + 8192);
	assert_int_equal(report.read_bytes, 4000 + 8192);
	assert_int_equal(report.total.data_bytes,
			 4000 + 4096); /* the twin's is not counted twice */
	assert_int_equal(report.codecs[PAGE_CODEC_LZ4], 1);
	assert_int_equal(report.codecs[PAGE_CODEC_NONE], 2);
	/* the largest first */
	assert_true(report.rows[0].region->start == 0x20000);
	assert_int_equal(report.rows[0].data_bytes, 3000);
	assert_int_equal(report.rows[1].region->shared, 1);
	assert_int_equal(report.rows[1].data_bytes, 4096);
	assert_int_equal(report.rows[2].data_bytes, 1000);
	assert_int_equal(report.sums.stored_bytes, KIB(24));
	assert_int_equal(report.sums.kept_bytes, KIB(8));
	pages_report_done(&report);
	pages_report_done(&report);
}

static void test_json_has_words_and_no_odd_bytes(void **state)
{
	struct pages_report report;
	struct page_map map;
	const json_t *row;
	json_t *json;

	(void)state;
	make_map(&map);
	assert_int_equal(pages_report_make(&map, &report), 0);
	json = pages_report_json(&report);
	assert_non_null(json);
	assert_int_equal(json_integer_value(json_object_get(json, "file_bytes")), 8192);
	row = json_array_get(json_object_get(json, "mappings"), 0);
	assert_string_equal(json_string_value(json_object_get(row, "name")), "a??");
	assert_string_equal(json_string_value(json_array_get(json_object_get(row, "kept"), 1)),
			    "copy-on-write");
	json_decref(json);
	pages_report_done(&report);
}

static void test_every_reason_has_a_word(void **state)
{
	char buf[200];

	(void)state;
	assert_string_equal(pages_kept_words(0, buf, sizeof(buf)), "");
	assert_string_equal(pages_kept_words(1023, buf, sizeof(buf)),
			    "small, stack, thread, copy-on-write, locked, hugetlb, sealed, kind, "
			    "swapped, unreachable");
	assert_string_equal(pages_kept_words(PAGE_KEPT_UNREACHABLE, buf, sizeof(buf)),
			    "unreachable");
	assert_int_equal(strlen(pages_kept_words(1023, buf, 10)), 9);
}

static void test_rate_is_a_positive_number(void **state)
{
	static const char *const wrong[] = {"",	  "0",	 "-1",	"inf", "nan",	"2GB",
					    " 2", "0x2", "1e3", ".",   "1.2.3", "10000000"};
	struct snap_error err;
	double rate;

	(void)state;
	assert_int_equal(wake_rate_parse("2.5", &rate, &err), 0);
	assert_true(rate > 2.49e9 && rate < 2.51e9);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_true(wake_rate_parse(wrong[i], &rate, &err) < 0);
		assert_int_equal(err.code, SNAP_E_USAGE);
	}
}

static void test_forecast_adds_what_is_streamed_and_what_criu_does(void **state)
{
	char pages[] = "criu/pages-1.img", core[] = "criu/core-1.img";
	struct manifest_image images[] = {{.name = pages, .size = 10 << 20},
					  {.name = core, .size = 1 << 20}};
	const struct manifest m = {.images = images, .n_images = 2};
	const struct pages_report report = {.read_bytes = 3000000000};
	struct wake_forecast forecast = wake_forecast(&m, &report, 2e9);

	(void)state;
	assert_int_equal(forecast.fixed_ms, WAKE_FIXED_MS);
	assert_int_equal(forecast.criu_ms, 35);
	assert_int_equal(forecast.stream_ms, 1500);
	assert_int_equal(wake_forecast(&m, NULL, 2e9).stream_ms, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bytes_of_the_file_go_to_their_mappings),
		cmocka_unit_test(test_json_has_words_and_no_odd_bytes),
		cmocka_unit_test(test_every_reason_has_a_word),
		cmocka_unit_test(test_rate_is_a_positive_number),
		cmocka_unit_test(test_forecast_adds_what_is_streamed_and_what_criu_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
