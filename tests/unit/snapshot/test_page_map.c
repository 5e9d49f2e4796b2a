/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "snapshot/pages/map.h"

#include "tests/lib/page_map_seal.h"
#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define BAD_PREFIX "should-fail-"
#define BAD_SUFFIX ".map"
#define MIB	   ((uint64_t)1 << 20)

/* one file each (tools/make_damage.py); the code is corrupt if none is given */
struct bad_case {
	const char *name;
	const char *words;
	enum snap_code code;
};

/* clang-format off */
static const struct bad_case bad_cases[] = {
	{"magic", "pages.map: no page map, the magic is missing", 0},
	{"version-0", "pages.map has version 0, this snapinit reads 1", SNAP_E_INCOMPATIBLE},
	{"version-2", "pages.map has version 2, this snapinit reads 1", SNAP_E_INCOMPATIBLE},
	{"header-bytes", "pages.map: header of 72 bytes, not 64", 0},
	{"header-cut", "pages.map: 63 bytes are no header", 0},
	{"header-pad", "pages.map: pad of the header is not zero", 0},
	{"page-bytes", "pages.map: pages of 16384 bytes, not 4096", 0},
	{"spaces-beyond-bound", "pages.map: 65537 spaces, 65536 are allowed", 0},
	{"chunks-beyond-bound", "pages.map: 4194305 chunks, 4194304 are allowed", 0},
	{"extents-beyond-bound", "pages.map: 4294967295 extents, 16777216 are allowed", 0},
	{"regions-beyond-bound", "pages.map: 1048577 regions, 1048576 are allowed", 0},
	{"empty", "pages.map: 0 bytes are no header", 0},
	{"cut-after-header", "pages.map: 64 bytes, its tables need 1072", 0},
	{"cut-one-byte", "pages.map: 1071 bytes, its tables need 1072", 0},
	{"byte-behind", "pages.map: 1073 bytes, its tables need 1072", 0},
	{"checksum-zero", "pages.map: its checksum differs", 0},
	{"checksum", "pages.map: its checksum differs", 0},
	{"data-beyond-bound", "pages.map: 70368744177665 bytes of data, 70368744177664 are allowed", 0},
	{"data-short", "pages.map: chunk 0: ends beyond the data", 0},
	{"space-chunks-gap", "pages.map: space 1: its first chunk is 3, not 2", 0},
	{"space-chunks-left", "pages.map: chunk 5: belongs to no space", 0},
	{"space-chunks-overflow", "pages.map: space 0: 4294967295 chunks, the table has 6 left", 0},
	{"space-chunks-too-many", "pages.map: space 2: 2 chunks, the table has 1 left", 0},
	{"space-fd-negative", "pages.map: space 2: descriptor -2", 0},
	{"space-first-chunk", "pages.map: space 1: its first chunk is 2, not 3", 0},
	{"space-kind-0", "pages.map: space 0: unknown kind 0", 0},
	{"space-kind-3", "pages.map: space 2: kind 3 does not belong here", 0},
	{"space-mapping-at-0", "pages.map: space 2: mapping 0-0x1000 is no page range", 0},
	{"space-mapping-backwards", "pages.map: space 3: mapping 0x7f1000000000-0x7f1000000000 is no page range", 0},
	{"space-mapping-beyond-user-space", "pages.map: space 3: mapping ends beyond user space", 0},
	{"space-mapping-unaligned", "pages.map: space 3: mapping 0x7f1000000000-0x7f1000004001 is no page range", 0},
	{"space-object-large", "pages.map: space 2: object of 70368744177665 bytes, 70368744177664 are allowed", 0},
	{"space-pad", "pages.map: space 1: pad is not zero", 0},
	{"space-pid-1", "pages.map: space 0: pid 1 is not within 2 and 4194304", 0},
	{"space-pid-large", "pages.map: space 0: pid 4194305 is not within 2 and 4194304", 0},
	{"space-pid-negative", "pages.map: space 2: pid -5 is not within 2 and 4194304", 0},
	{"space-pid-twice", "pages.map: pid 100 has two spaces", 0},
	{"space-shared-without-way", "pages.map: space 2: neither descriptor nor mapping of the object", 0},
	{"space-task-fd", "pages.map: space 0: a process with fields of a shared object", 0},
	{"space-task-mapping", "pages.map: space 0: a process with fields of a shared object", 0},
	{"space-task-object", "pages.map: space 0: a process with fields of a shared object", 0},
	{"space-too-many", "pages.map: 1072 bytes, its tables need 1120", 0},
	{"chunk-bytes-0", "pages.map: chunk 1: 0 bytes, not within 1 and 2097152", 0},
	{"chunk-bytes-large", "pages.map: chunk 0: 2101248 bytes, not within 1 and 2097152", 0},
	{"chunk-bytes-not-extents", "pages.map: chunk 2: 28672 bytes, its extents add up to 32768", 0},
	{"chunk-codec", "pages.map: chunk 3: unknown codec 3", 0},
	{"chunk-extents-left", "pages.map: extent 8: belongs to no chunk", 0},
	{"chunk-extents-overflow", "pages.map: chunk 1: 4294967295 extents, the table has 8 left", 0},
	{"chunk-extents-too-many", "pages.map: chunk 5: 3 extents, the table has 2 left", 0},
	{"chunk-first-extent", "pages.map: chunk 3: its first extent is 5, not 4", 0},
	{"chunk-flags", "pages.map: chunk 3: unknown flags 0x8", 0},
	{"chunk-offset-beyond", "pages.map: chunk 5: ends beyond the data", 0},
	{"chunk-offset-overflow", "pages.map: chunk 5: ends beyond the data", 0},
	{"chunk-offset-unaligned", "pages.map: chunk 3: offset 24584 is not aligned to pages", 0},
	{"chunk-overlaps-dense", "pages.map: chunk 5: its data overlaps that of chunk 0", 0},
	{"chunk-overlaps", "pages.map: chunk 3: its data overlaps that of chunk 2", 0},
	{"chunk-pad", "pages.map: chunk 4: pad is not zero", 0},
	{"chunk-shared-bytes", "pages.map: chunk 4: shares the data of chunk 1 but differs", 0},
	{"chunk-shared-checksum-high", "pages.map: chunk 4: shares the data of chunk 1 but differs", 0},
	{"chunk-shared-checksum", "pages.map: chunk 4: shares the data of chunk 1 but differs", 0},
	{"chunk-shared-codec", "pages.map: chunk 4: shares the data of chunk 1 but differs", 0},
	{"chunk-shared-stored", "pages.map: chunk 4: shares the data of chunk 1 but differs", 0},
	{"chunk-space", "pages.map: chunk 3: says space 0, lies in space 1", 0},
	{"chunk-stored-0", "pages.map: chunk 2: 0 bytes stored, not within 1 and 32768", 0},
	{"chunk-stored-more", "pages.map: chunk 2: 32769 bytes stored, not within 1 and 32768", 0},
	{"chunk-stored-without-codec", "pages.map: chunk 1: 4096 bytes stored without codec, 12288 in memory", 0},
	{"chunk-too-few", "pages.map: 1072 bytes, its tables need 1016", 0},
	{"chunk-too-large", "pages.map: chunk 0: 2101248 bytes, not within 1 and 2097152", 0},
	{"chunk-without-extents", "pages.map: chunk 3: 8192 bytes, its extents add up to 0", 0},
	{"extent-beyond-object", "pages.map: extent 8: ends beyond 0xb000", 0},
	{"extent-beyond-user-space", "pages.map: extent 6: ends beyond 0x800000000000", 0},
	{"extent-descends-across-chunks", "pages.map: extent 3: begins before the end of the one before", 0},
	{"extent-descends", "pages.map: extent 6: begins before the end of the one before", 0},
	{"extent-kernel", "pages.map: extent 6: ends beyond 0x800000000000", 0},
	{"extent-no-pages", "pages.map: extent 1: has no pages", 0},
	{"extent-overflow", "pages.map: extent 6: ends beyond 0x800000000000", 0},
	{"extent-overlaps", "pages.map: extent 2: begins before the end of the one before", 0},
	{"extent-pad", "pages.map: extent 1: pad is not zero", 0},
	{"extent-pages-overflow", "pages.map: extent 6: ends beyond 0x800000000000", 0},
	{"extent-unaligned", "pages.map: extent 1: address 0x7f0000200800 is not aligned", 0},
	{"device-end", "device.map: space 2: device memory with a mapping", 0},
	{"device-gpu-large", "device.map: space 1: GPU 64 is not within 0 and 63", 0},
	{"device-gpu-negative", "device.map: space 0: GPU -1 is not within 0 and 63", 0},
	{"device-gpu-twice", "device.map: pid 100 has two spaces on GPU 0", 0},
	{"device-kind-4", "device.map: space 0: unknown kind 4", 0},
	{"device-of-a-process", "device.map: space 1: kind 1 does not belong here", 0},
	{"device-of-shared-memory", "device.map: space 0: kind 2 does not belong here", 0},
	{"device-pid-1", "device.map: space 0: pid 1 is not within 2 and 4194304", 0},
	{"device-size-0", "device.map: space 1: 0 bytes of device memory, not within 1 and 70368744177664", 0},
	{"device-size-large", "device.map: space 1: 70368744177665 bytes of device memory, not within 1 and 70368744177664", 0},
	{"device-size-small", "device.map: extent 3: ends beyond 0x1000", 0},
	{"device-start", "device.map: space 0: device memory with a mapping", 0},
	{"region-backwards", "pages.map: region 0: 0x7f0000000000-0x1000 is no page range", 0},
	{"region-empty", "pages.map: region 0: 0x7f0000000000-0x7f0000000000 is no page range", 0},
	{"region-kept-bytes", "pages.map: region 1: more kept bytes than it has", 0},
	{"region-kept", "pages.map: region 1: unknown reasons 0x400", 0},
	{"region-name-endless", "pages.map: region 0: its name is not ended by NUL alone", 0},
	{"region-name-tail", "pages.map: region 0: its name is not ended by NUL alone", 0},
	{"region-pad", "pages.map: region 0: pad is not zero", 0},
	{"region-pad2", "pages.map: region 1: pad is not zero", 0},
	{"region-pid-0", "pages.map: region 0: pid 0 is not within 2 and 4194304", 0},
	{"region-prot", "pages.map: region 0: unknown protection 0x8", 0},
	{"region-shared-bytes", "pages.map: region 1: more shared bytes than it has", 0},
	{"region-shared", "pages.map: region 0: shared is 2, neither 0 nor 1", 0},
	{"region-stored", "pages.map: region 0: more bytes stored than it has", 0},
	{"region-unaligned", "pages.map: region 0: 0x7f0000000010-0x7f0000500000 is no page range", 0},
	{"region-zero", "pages.map: region 0: more zero bytes than it has", 0},
};

/* clang-format on */

static void read_data(const char *name, uint8_t **ret_data, size_t *ret_size)
{
	snap_cleanup_free char *text = NULL;
	char path[512];

	(void)snprintf(path, sizeof(path), SNAP_TEST_PAGES "/%s" BAD_SUFFIX, name);
	if (io_read_file(AT_FDCWD, path, 1 << 20, &text, ret_size, NULL) < 0)
		fail_msg("cannot read %s", path);
	/* exactly as large as the file, so that a sanitizer sees a byte read too far */
	*ret_data = malloc(*ret_size + (*ret_size == 0));
	assert_non_null(*ret_data);
	memcpy(*ret_data, text, *ret_size);
}

static enum page_files files_of(const char *name)
{
	return strncmp(name, "device-", strlen("device-")) == 0 ? PAGE_FILES_DEVICES
								: PAGE_FILES_TREE;
}

static void good_map(struct page_map *ret)
{
	snap_cleanup_free uint8_t *data = NULL;
	size_t size;

	read_data("good", &data, &size);
	assert_int_equal(page_map_parse(data, size, PAGE_FILES_TREE, ret, NULL), 0);
}

static void test_every_damaged_file_is_refused_by_name(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad_cases); i++) {
		const struct bad_case *bad = &bad_cases[i];
		snap_cleanup_free uint8_t *data = NULL;
		struct snap_error err = {0};
		struct page_map map;
		char name[128];
		size_t size;

		(void)snprintf(name, sizeof(name), BAD_PREFIX "%s", bad->name);
		read_data(name, &data, &size);
		if (page_map_parse(data, size, files_of(bad->name), &map, &err) >= 0)
			fail_msg("%s was accepted", bad->name);
		if (strcmp(err.msg, bad->words) != 0)
			fail_msg("%s: '%s', not '%s'", bad->name, err.msg, bad->words);
		assert_int_equal(err.code, bad->code ? bad->code : SNAP_E_CORRUPT);
		assert_true(page_map_parse(data, size, files_of(bad->name), &map, NULL) < 0);
	}
}

static void test_every_damaged_file_is_in_the_table(void **state)
{
	DIR *dir = opendir(SNAP_TEST_PAGES);
	const struct dirent *entry;
	size_t n = 0;

	(void)state;
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		n += strncmp(entry->d_name, BAD_PREFIX, strlen(BAD_PREFIX)) == 0;
	(void)closedir(dir);
	assert_int_equal(n, ARRAY_LEN(bad_cases));
}

static void test_good_file_is_read_whole(void **state)
{
	struct page_map map;

	(void)state;
	good_map(&map);
	assert_int_equal(map.n_spaces, 5);
	assert_int_equal(map.n_chunks, 6);
	assert_int_equal(map.n_extents, 9);
	assert_int_equal(map.n_regions, 2);
	assert_true(map.data_bytes == 4 * MIB);

	assert_int_equal(map.spaces[2].kind, PAGE_SPACE_SHARED);
	assert_int_equal(map.spaces[2].pid, 100);
	assert_int_equal(map.spaces[2].fd, 7);
	assert_int_equal(map.spaces[2].first_chunk, 5);
	assert_int_equal(map.spaces[2].n_chunks, 1);
	assert_true(map.spaces[2].object_bytes == 10 * PAGE_BYTES + 1);
	assert_int_equal(map.spaces[3].fd, -1);
	assert_true(map.spaces[3].start == 0x7f1000000000 && map.spaces[3].end == 0x7f1000004000);

	assert_true(map.chunks[2].offset == 4 * PAGE_BYTES);
	assert_true(map.chunks[2].checksum_low == 4 * PAGE_BYTES + 1);
	assert_true(map.chunks[2].checksum_high == ~(uint64_t)(4 * PAGE_BYTES));
	assert_int_equal(map.chunks[2].stored_bytes, 5000);
	assert_int_equal(map.chunks[2].bytes, 8 * PAGE_BYTES);
	assert_int_equal(map.chunks[2].codec, PAGE_CODEC_LZ4);
	assert_int_equal(map.chunks[2].flags, PAGE_CHUNK_READ_ONLY);
	assert_int_equal(map.chunks[4].space, 1);
	assert_int_equal(map.chunks[4].first_extent, 5);
	assert_int_equal(map.chunks[4].n_extents, 2);
	assert_int_equal(map.chunks[5].rank, 2);

	assert_true(map.extents[0].address == 0x7f0000000000);
	assert_int_equal(map.extents[0].n_pages, 256);

	assert_true(map.regions[0].stored_bytes == MIB);
	assert_true(map.regions[0].zero_bytes == PAGE_BYTES);
	assert_string_equal(map.regions[0].name, "[heap]");
	assert_true(map.regions[1].shared_bytes == PAGE_BYTES);
	assert_true(map.regions[1].kept_bytes == 4 * PAGE_BYTES);
	assert_int_equal(map.regions[1].pid, 101);
	assert_int_equal(map.regions[1].kept, 1023);
	assert_int_equal(map.regions[1].prot, 7);
	assert_int_equal(map.regions[1].shared, 1);
	page_map_done(&map);
	page_map_done(&map);
	assert_null(map.chunks);
}

static void test_good_file_of_devices_is_read_whole(void **state)
{
	snap_cleanup_free uint8_t *data = NULL;
	snap_cleanup_free char *saved = NULL;
	struct snap_error err = {0};
	struct sandbox box;
	struct page_map map;
	size_t size, saved_size;

	(void)state;
	read_data("good-device", &data, &size);
	assert_true(page_map_parse(data, size, PAGE_FILES_TREE, &map, &err) < 0);
	assert_string_equal(err.msg, "pages.map: space 0: kind 3 does not belong here");
	assert_int_equal(page_map_parse(data, size, PAGE_FILES_DEVICES, &map, NULL), 0);
	assert_int_equal(map.n_spaces, 3);
	assert_int_equal(map.spaces[1].kind, PAGE_SPACE_DEVICE);
	assert_int_equal(map.spaces[1].fd, 1);
	assert_true(map.spaces[2].object_bytes == PAGE_BYTES + 1);
	assert_int_equal(map.spaces[1].n_chunks, 0);
	sandbox_init(&box);
	assert_int_equal(page_map_save(box.fd, &map, NULL), 0);
	assert_int_equal(io_read_file(box.fd, DEVICE_MAP_NAME, 1 << 20, &saved, &saved_size, NULL),
			 0);
	assert_int_equal(saved_size, size);
	assert_memory_equal(saved, data, size);
	page_map_done(&map);
	sandbox_done(&box);
}

static void test_saved_is_byte_for_byte_what_was_loaded(void **state)
{
	snap_cleanup_free uint8_t *golden = NULL;
	snap_cleanup_free char *saved = NULL;
	size_t golden_size, saved_size;
	struct sandbox box;
	struct page_map map;
	struct stat st;

	(void)state;
	sandbox_init(&box);
	read_data("good", &golden, &golden_size);
	good_map(&map);
	assert_int_equal(page_map_save(box.fd, &map, NULL), 0);
	assert_int_equal(fstatat(box.fd, PAGES_MAP_NAME, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(io_read_file(box.fd, PAGES_MAP_NAME, 1 << 20, &saved, &saved_size, NULL),
			 0);
	assert_int_equal(saved_size, golden_size);
	assert_memory_equal(saved, golden, golden_size);
	page_map_done(&map);
	sandbox_done(&box);
}

/* one field of one record of the good map, before it is saved */
struct bend {
	size_t table; /* offset of the table's pointer in struct page_map */
	size_t at;    /* offset in the table */
	size_t size;
	uint64_t value;
	const char *words;
};

#define BEND(table, type, index, field, value, words)                                             \
	{                                                                                         \
		offsetof(struct page_map, table), (index) * sizeof(type) + offsetof(type, field), \
			sizeof(((type *)NULL)->field), value,                                     \
			"not written: " PAGES_MAP_NAME ": " words                                 \
	}
#define SPACE(...)  BEND(spaces, struct page_space, __VA_ARGS__)
#define CHUNK(...)  BEND(chunks, struct page_chunk, __VA_ARGS__)
#define EXTENT(...) BEND(extents, struct page_extent, __VA_ARGS__)
#define REGION(...) BEND(regions, struct page_region, __VA_ARGS__)

/* clang-format off */
static const struct bend bends[] = {
	SPACE(0, kind, 9, "space 0: unknown kind 9"),
	SPACE(1, pid, 100, "pid 100 has two spaces"),
	SPACE(1, pid, 1, "space 1: pid 1 is not within"),
	SPACE(4, pad, 1, "space 4: pad is not zero"),
	SPACE(4, n_chunks, 1, "space 4: 1 chunks, the table has 0 left"),
	SPACE(3, start, 1, "space 3: mapping 0x1-0x7f1000004000 is no page range"),
	SPACE(3, object_bytes, UINT64_MAX, "space 3: object of 18446744073709551615 bytes"),
	CHUNK(0, offset, UINT64_MAX - PAGE_BYTES + 1, "chunk 0: ends beyond the data"),
	CHUNK(0, stored_bytes, UINT32_MAX, "chunk 0: 4294967295 bytes stored"),
	CHUNK(0, bytes, UINT32_MAX, "chunk 0: 4294967295 bytes, not within"),
	CHUNK(5, space, UINT32_MAX, "chunk 5: says space 4294967295, lies in space 2"),
	CHUNK(3, codec, UINT16_MAX, "chunk 3: unknown codec 65535"),
	CHUNK(3, flags, UINT16_MAX, "chunk 3: unknown flags 0xffff"),
	CHUNK(1, checksum_high, 0, "chunk 4: shares the data of chunk 1 but differs"),
	CHUNK(5, offset, 2 * PAGE_BYTES, "chunk 5: its data overlaps that of chunk 4"),
	EXTENT(0, address, UINT64_MAX, "extent 0: address 0xffffffffffffffff is not aligned"),
	EXTENT(8, n_pages, UINT32_MAX, "extent 8: ends beyond 0xb000"),
	REGION(0, start, UINT64_MAX, "region 0: 0xffffffffffffffff-0x7f0000500000 is no page"),
	REGION(0, stored_bytes, UINT64_MAX, "region 0: more bytes stored than it has"),
	REGION(1, kept, UINT32_MAX, "region 1: unknown reasons 0xffffffff"),
	REGION(1, pid, UINT32_MAX, "region 1: pid -1 is not within"),
};

/* clang-format on */

static void bend_map(struct page_map *map, const struct bend *bend)
{
	uint8_t *table;

	memcpy(&table, (const uint8_t *)map + bend->table, sizeof(table));
	/* the low bytes come first on every machine that this runs on (x86-64) */
	memcpy(table + bend->at, &bend->value, bend->size);
}

static void test_what_load_would_refuse_is_not_saved(void **state)
{
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, PAGES_MAP_NAME, "old");
	for (size_t i = 0; i < ARRAY_LEN(bends); i++) {
		snap_cleanup_free char *text = NULL;
		struct snap_error err = {0};
		struct page_map map;
		size_t size;

		good_map(&map);
		bend_map(&map, &bends[i]);
		if (page_map_save(box.fd, &map, &err) >= 0)
			fail_msg("saved, though %s", bends[i].words);
		if (strncmp(err.msg, bends[i].words, strlen(bends[i].words)) != 0)
			fail_msg("'%s' does not begin '%s'", err.msg, bends[i].words);
		assert_int_equal(err.code, SNAP_E_INTERNAL);
		assert_int_equal(page_map_check(&map, &err), -EBADMSG);
		assert_int_equal(err.code, SNAP_E_CORRUPT);
		assert_int_equal(io_read_file(box.fd, PAGES_MAP_NAME, 16, &text, &size, NULL), 0);
		assert_string_equal(text, "old");
		page_map_done(&map);
	}
	sandbox_done(&box);
}

static void test_counts_beyond_the_bounds_are_refused_unread(void **state)
{
	struct page_map map = {.n_spaces = PAGE_MAP_SPACES_MAX + 1};
	struct snap_error err = {0};
	size_t size;
	void *data;

	(void)state;
	assert_true(page_map_check(&map, &err) < 0);
	assert_non_null(strstr(err.msg, "65537 spaces, 65536 are allowed"));
	map = (struct page_map){.n_chunks = SIZE_MAX};
	assert_true(page_map_format(&map, &data, &size, &err) < 0);
	assert_non_null(strstr(err.msg, "chunks, 4194304 are allowed"));
	map = (struct page_map){.n_extents = PAGE_MAP_EXTENTS_MAX + 1};
	assert_true(page_map_check(&map, &err) < 0);
	assert_non_null(strstr(err.msg, "16777217 extents, 16777216 are allowed"));
	map = (struct page_map){.n_regions = PAGE_MAP_REGIONS_MAX + 1};
	assert_true(page_map_check(&map, &err) < 0);
	assert_non_null(strstr(err.msg, "1048577 regions, 1048576 are allowed"));
	map = (struct page_map){.data_bytes = PAGE_MAP_DATA_MAX + 1};
	assert_true(page_map_check(&map, &err) < 0);
	assert_non_null(strstr(err.msg, "bytes of data"));
}

static void test_tables_end_at_their_bounds(void **state)
{
	const struct page_space space = {.kind = PAGE_SPACE_TASK, .pid = 2};
	const struct page_chunk chunk = {0};
	const struct page_extent extent = {0};
	const struct page_region region = {0};
	struct page_map map = {0};

	(void)state;
	for (size_t i = 0; i < PAGE_MAP_SPACES_MAX; i++)
		assert_int_equal(page_map_add_space(&map, &space), 0);
	assert_int_equal(page_map_add_space(&map, &space), -E2BIG);
	assert_int_equal(map.n_spaces, PAGE_MAP_SPACES_MAX);
	assert_int_equal(map.spaces[PAGE_MAP_SPACES_MAX - 1].pid, 2);
	page_map_done(&map);

	map.n_chunks = PAGE_MAP_CHUNKS_MAX;
	assert_int_equal(page_map_add_chunk(&map, &chunk), -E2BIG);
	map.n_extents = PAGE_MAP_EXTENTS_MAX;
	assert_int_equal(page_map_add_extent(&map, &extent), -E2BIG);
	map.n_regions = PAGE_MAP_REGIONS_MAX;
	assert_int_equal(page_map_add_region(&map, &region), -E2BIG);
	assert_null(map.chunks);
}

static void test_what_was_loaded_can_grow(void **state)
{
	struct page_map map;

	(void)state;
	good_map(&map);
	for (int32_t i = 0; i < 300; i++) {
		struct page_space space = {.kind = PAGE_SPACE_TASK, .pid = 1000 + i, .fd = -1};
		struct page_region region = {.start = PAGE_BYTES, .end = 2 * PAGE_BYTES, .pid = 2};
		struct page_extent extent = {PAGE_BYTES + (uint64_t)i * PAGE_BYTES, 1, 0};
		struct page_chunk chunk = {
			.offset = 3 * MIB + (uint64_t)i / 2 * PAGE_BYTES,
			.stored_bytes = 9,
			.bytes = PAGE_BYTES,
			.space = (uint32_t)map.n_spaces,
			.first_extent = (uint32_t)map.n_extents,
			.n_extents = 1,
			.codec = PAGE_CODEC_ZSTD,
		};

		space.first_chunk = (uint32_t)map.n_chunks;
		space.n_chunks = 1;
		assert_int_equal(page_map_add_space(&map, &space), 0);
		assert_int_equal(page_map_add_chunk(&map, &chunk), 0);
		assert_int_equal(page_map_add_extent(&map, &extent), 0);
		assert_int_equal(page_map_add_region(&map, &region), 0);
	}
	assert_int_equal(map.n_spaces, 305);
	assert_int_equal(map.n_regions, 302);
	assert_int_equal(page_map_check(&map, NULL), 0);
	page_map_done(&map);
}

/* the last value that each rule allows */
static void test_limits_are_within(void **state)
{
	struct page_map map;

	(void)state;
	good_map(&map);
	map.spaces[4].pid = 4194304;
	map.spaces[2].object_bytes = PAGE_MAP_OBJECT_MAX;
	map.extents[8].address = PAGE_MAP_OBJECT_MAX - PAGE_BYTES;
	map.spaces[3].end = PAGE_MAP_ADDRESS_END;
	map.chunks[5].offset = map.data_bytes - map.chunks[5].bytes;
	map.chunks[5].rank = UINT32_MAX;
	map.regions[0].stored_bytes = map.regions[0].end - map.regions[0].start;
	map.regions[0].zero_bytes = map.regions[0].stored_bytes;
	memset(map.regions[0].name, 'x', PAGE_REGION_NAME_MAX - 1);
	map.regions[1].start = 0xffffffffff600000; /* vsyscall */
	map.regions[1].end = 0xffffffffff604000;
	assert_int_equal(page_map_check(&map, NULL), 0);
	map.data_bytes = PAGE_MAP_DATA_MAX;
	assert_int_equal(page_map_check(&map, NULL), 0);
	page_map_done(&map);
	assert_int_equal(page_map_check(&map, NULL), 0);
}

/* sealed, so that the size alone gives it away */
static void test_every_cut_is_refused(void **state)
{
	snap_cleanup_free uint8_t *data = NULL;
	size_t size;

	(void)state;
	read_data("good", &data, &size);
	for (size_t n = 0; n < size; n++) {
		uint8_t *part = malloc(n + 1);
		struct page_map map;

		assert_non_null(part);
		memcpy(part, data, n);
		page_map_seal(part, n);
		if (page_map_parse(part, n, PAGE_FILES_TREE, &map, NULL) >= 0)
			fail_msg("%zu of %zu bytes were accepted", n, size);
		free(part);
	}
}

static void test_every_flipped_bit_is_refused(void **state)
{
	snap_cleanup_free uint8_t *data = NULL;
	struct page_map map;
	size_t size;

	(void)state;
	read_data("good", &data, &size);
	for (size_t bit = 0; bit < 8 * size; bit++) {
		data[bit / 8] ^= (uint8_t)(1U << bit % 8);
		if (page_map_parse(data, size, PAGE_FILES_TREE, &map, NULL) >= 0)
			fail_msg("bit %zu of byte %zu makes no difference", bit % 8, bit / 8);
		data[bit / 8] ^= (uint8_t)(1U << bit % 8);
	}
	assert_int_equal(page_map_parse(data, size, PAGE_FILES_TREE, &map, NULL), 0);
	page_map_done(&map);
}

#define MANY_CHUNKS 250000U
#define MANY_EACH   4U

/* places in pages.dat run against the table, and every second chunk shares one */
static void fill_many(struct page_map *map)
{
	const struct page_space space = {
		.kind = PAGE_SPACE_TASK, .pid = 77, .fd = -1, .n_chunks = MANY_CHUNKS};

	assert_int_equal(page_map_add_space(map, &space), 0);
	for (uint32_t i = 0; i < MANY_CHUNKS; i++) {
		struct page_chunk chunk = {
			.offset = (uint64_t)(MANY_CHUNKS - i) / 2 * PAGE_BYTES * MANY_EACH,
			.stored_bytes = MANY_EACH * PAGE_BYTES,
			.bytes = MANY_EACH * PAGE_BYTES,
			.first_extent = MANY_EACH * i,
			.n_extents = MANY_EACH,
		};

		chunk.checksum_low = chunk.offset;
		assert_int_equal(page_map_add_chunk(map, &chunk), 0);
		for (uint32_t j = 0; j < MANY_EACH; j++) {
			struct page_extent extent = {(2ULL * (MANY_EACH * i + j) + 16) * PAGE_BYTES,
						     1, 0};

			assert_int_equal(page_map_add_extent(map, &extent), 0);
		}
	}
	map->data_bytes = (uint64_t)(MANY_CHUNKS / 2 + 1) * PAGE_BYTES * MANY_EACH;
}

static void test_a_million_extents_round_trip(void **state)
{
	struct page_map map = {0}, again;
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	fill_many(&map);
	assert_int_equal(page_map_save(box.fd, &map, NULL), 0);
	sandbox_put_text(&box, PAGES_DATA_NAME, "");
	assert_int_equal(truncate(sandbox_path(&box, PAGES_DATA_NAME, (char[256]){0}, 256),
				  (off_t)map.data_bytes),
			 0);
	assert_int_equal(page_map_load(box.fd, PAGE_FILES_TREE, &again, NULL), 0);
	assert_int_equal(again.n_extents, 1000000);
	assert_memory_equal(again.spaces, map.spaces, sizeof(*map.spaces));
	assert_memory_equal(again.chunks, map.chunks, map.n_chunks * sizeof(*map.chunks));
	assert_memory_equal(again.extents, map.extents, map.n_extents * sizeof(*map.extents));
	page_map_done(&again);

	/* one of the shared ones, far from its neighbour in the table's order */
	map.chunks[MANY_CHUNKS / 2].checksum_low++;
	assert_int_equal(page_map_check(&map, NULL), -EBADMSG);
	page_map_done(&map);
	sandbox_done(&box);
}

static void put_good(const struct sandbox *box, uint64_t data_bytes)
{
	char path[256];
	struct page_map map;

	good_map(&map);
	assert_int_equal(page_map_save(box->fd, &map, NULL), 0);
	page_map_done(&map);
	sandbox_put_text(box, PAGES_DATA_NAME, "");
	assert_int_equal(
		truncate(sandbox_path(box, PAGES_DATA_NAME, path, sizeof(path)), (off_t)data_bytes),
		0);
}

static void assert_load_refuses(const struct sandbox *box, int errnum, const char *words)
{
	struct snap_error err = {0};
	struct page_map map;

	assert_int_equal(page_map_load(box->fd, PAGE_FILES_TREE, &map, &err), -errnum);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	if (!strstr(err.msg, words))
		fail_msg("'%s' does not say '%s'", err.msg, words);
	assert_int_equal(page_map_load(box->fd, PAGE_FILES_TREE, &map, NULL), -errnum);
}

static void test_load_wants_data_of_that_size(void **state)
{
	struct page_map map;
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	put_good(&box, 4 * MIB);
	assert_int_equal(page_map_load(box.fd, PAGE_FILES_TREE, &map, NULL), 0);
	assert_int_equal(map.n_chunks, 6);
	page_map_done(&map);

	put_good(&box, 4 * MIB - 1);
	assert_load_refuses(&box, EBADMSG, "'pages.dat' has 4194303 bytes, pages.map says 4194304");
	put_good(&box, 4 * MIB + 1);
	assert_load_refuses(&box, EBADMSG, "'pages.dat' has 4194305 bytes, pages.map says 4194304");
	assert_int_equal(renameat(box.fd, PAGES_DATA_NAME, box.fd, "elsewhere"), 0);
	assert_load_refuses(&box, ENOENT, "cannot open 'pages.dat'");
	assert_int_equal(symlinkat("elsewhere", box.fd, PAGES_DATA_NAME), 0);
	assert_load_refuses(&box, EBADMSG, "'pages.dat' is no regular file");
	assert_int_equal(unlinkat(box.fd, PAGES_DATA_NAME, 0), 0);
	assert_int_equal(mkdirat(box.fd, PAGES_DATA_NAME, 0700), 0);
	assert_load_refuses(&box, EBADMSG, "'pages.dat' is no regular file");
	sandbox_done(&box);
}

static void test_load_wants_a_regular_map(void **state)
{
	char path[256];
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	assert_load_refuses(&box, ENOENT, "cannot open 'pages.map'");
	put_good(&box, 4 * MIB);
	assert_int_equal(renameat(box.fd, PAGES_MAP_NAME, box.fd, "elsewhere"), 0);
	assert_int_equal(symlinkat("elsewhere", box.fd, PAGES_MAP_NAME), 0);
	assert_load_refuses(&box, ELOOP, "cannot open 'pages.map'");
	assert_int_equal(unlinkat(box.fd, PAGES_MAP_NAME, 0), 0);
	assert_int_equal(mkdirat(box.fd, PAGES_MAP_NAME, 0700), 0);
	assert_load_refuses(&box, EBADMSG, "'pages.map' is no regular file");
	assert_int_equal(unlinkat(box.fd, PAGES_MAP_NAME, AT_REMOVEDIR), 0);
	assert_int_equal(mkfifoat(box.fd, PAGES_MAP_NAME, 0600), 0);
	assert_load_refuses(&box, EBADMSG, "'pages.map' is no regular file");
	assert_int_equal(unlinkat(box.fd, PAGES_MAP_NAME, 0), 0);

	sandbox_put_text(&box, PAGES_MAP_NAME, "");
	assert_load_refuses(&box, EBADMSG, "pages.map: 0 bytes are no header");
	/* a sparse file costs nothing here and must cost no memory there */
	assert_int_equal(
		truncate(sandbox_path(&box, PAGES_MAP_NAME, path, sizeof(path)), (off_t)1 << 40),
		0);
	assert_load_refuses(&box, EFBIG, "'pages.map' is larger than 657457216 bytes");
	sandbox_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_damaged_file_is_refused_by_name),
		cmocka_unit_test(test_every_damaged_file_is_in_the_table),
		cmocka_unit_test(test_good_file_is_read_whole),
		cmocka_unit_test(test_good_file_of_devices_is_read_whole),
		cmocka_unit_test(test_saved_is_byte_for_byte_what_was_loaded),
		cmocka_unit_test(test_what_load_would_refuse_is_not_saved),
		cmocka_unit_test(test_counts_beyond_the_bounds_are_refused_unread),
		cmocka_unit_test(test_tables_end_at_their_bounds),
		cmocka_unit_test(test_what_was_loaded_can_grow),
		cmocka_unit_test(test_limits_are_within),
		cmocka_unit_test(test_every_cut_is_refused),
		cmocka_unit_test(test_every_flipped_bit_is_refused),
		cmocka_unit_test(test_a_million_extents_round_trip),
		cmocka_unit_test(test_load_wants_data_of_that_size),
		cmocka_unit_test(test_load_wants_a_regular_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
