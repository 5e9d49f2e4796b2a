/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "snapshot/pages/map.h"

#include "tests/fuzz/fuzz_target.h"
#include "tests/lib/page_map_seal.h"

/*
 * What is accepted keeps every rule, and written again it is the same bytes. Each input is parsed
 * as it is and once more with its checksum put right, without which no change would be looked at.
 */

/* what a reader of a checked map relies on without a look of its own */
static void check_reach(const struct page_map *map)
{
	size_t next_chunk = 0, next_extent = 0;

	for (size_t i = 0; i < map->n_spaces; i++) {
		FUZZ_CHECK(map->spaces[i].first_chunk == next_chunk);
		next_chunk += map->spaces[i].n_chunks;
	}
	FUZZ_CHECK(next_chunk == map->n_chunks);
	for (size_t i = 0; i < map->n_chunks; i++) {
		const struct page_chunk *chunk = &map->chunks[i];
		uint64_t sum = 0;

		FUZZ_CHECK(chunk->space < map->n_spaces);
		FUZZ_CHECK(chunk->first_extent == next_extent);
		for (size_t n = chunk->n_extents; n > 0; n--) {
			FUZZ_CHECK(next_extent < map->n_extents);
			sum += (uint64_t)map->extents[next_extent].n_pages * PAGE_BYTES;
			FUZZ_CHECK(map->extents[next_extent].address < PAGE_MAP_ADDRESS_END);
			next_extent++;
		}
		FUZZ_CHECK(sum == chunk->bytes && sum <= PAGES_CHUNK_MAX);
		FUZZ_CHECK(chunk->offset + chunk->stored_bytes <= map->data_bytes);
	}
	FUZZ_CHECK(next_extent == map->n_extents);
	for (size_t i = 0; i < map->n_regions; i++)
		FUZZ_CHECK(memchr(map->regions[i].name, '\0', PAGE_REGION_NAME_MAX));
}

static void parse(const uint8_t *data, size_t size, enum page_files files)
{
	struct snap_error err = {0};
	struct page_map map;
	size_t again_size;
	void *again;

	if (page_map_parse(data, size, files, &map, &err) < 0) {
		FUZZ_CHECK(err.code == SNAP_E_CORRUPT || err.code == SNAP_E_INCOMPATIBLE);
		FUZZ_CHECK(err.msg[0] != '\0' && !strchr(err.msg, '\n'));
		return;
	}
	FUZZ_CHECK(page_map_check(&map, &err) == 0);
	check_reach(&map);
	FUZZ_CHECK(page_map_format(&map, &again, &again_size, &err) == 0);
	FUZZ_CHECK(again_size == size && memcmp(again, data, size) == 0);
	free(again);
	page_map_done(&map);
	page_map_done(&map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *sealed;

	parse(data, size, PAGE_FILES_TREE);
	sealed = malloc(size ? size : 1);
	FUZZ_CHECK(sealed);
	memcpy(sealed, data, size);
	page_map_seal(sealed, size);
	parse(sealed, size, PAGE_FILES_TREE);
	parse(sealed, size, PAGE_FILES_DEVICES);
	free(sealed);
	return 0;
}
