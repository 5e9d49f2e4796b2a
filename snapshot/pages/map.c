/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/map.h"

#include <errno.h>
#include <stdlib.h>

#define ROOM_FIRST 64U

static const char *const map_names[PAGE_FILES_MAX_] = {
	[PAGE_FILES_TREE] = PAGES_MAP_NAME,
	[PAGE_FILES_DEVICES] = DEVICE_MAP_NAME,
};

static const char *const data_names[PAGE_FILES_MAX_] = {
	[PAGE_FILES_TREE] = PAGES_DATA_NAME,
	[PAGE_FILES_DEVICES] = DEVICE_DATA_NAME,
};

const char *page_files_map_name(enum page_files files)
{
	return map_names[files];
}

const char *page_files_data_name(enum page_files files)
{
	return data_names[files];
}

void page_map_done(struct page_map *map)
{
	free(map->spaces);
	free(map->chunks);
	free(map->extents);
	free(map->regions);
	*map = (struct page_map){0};
}

/* memory for one entry more; doubles, so that a million calls cost a score of copies */
static int grow(void **table, size_t n, size_t *room, size_t max, size_t entry_size)
{
	size_t wanted = *room;
	void *bigger;

	if (n >= max)
		return -E2BIG;
	if (n < wanted)
		return 0;
	wanted = n < ROOM_FIRST ? ROOM_FIRST : 2 * n;
	if (wanted > max)
		wanted = max;
	bigger = realloc(*table, wanted * entry_size);
	if (!bigger)
		return -ENOMEM;
	*table = bigger;
	*room = wanted;
	return 0;
}

int page_map_add_space(struct page_map *map, const struct page_space *space)
{
	void *table = map->spaces;
	int r = grow(&table, map->n_spaces, &map->spaces_room, PAGE_MAP_SPACES_MAX, sizeof(*space));

	if (r < 0)
		return r;
	map->spaces = table;
	map->spaces[map->n_spaces++] = *space;
	return 0;
}

int page_map_add_chunk(struct page_map *map, const struct page_chunk *chunk)
{
	void *table = map->chunks;
	int r = grow(&table, map->n_chunks, &map->chunks_room, PAGE_MAP_CHUNKS_MAX, sizeof(*chunk));

	if (r < 0)
		return r;
	map->chunks = table;
	map->chunks[map->n_chunks++] = *chunk;
	return 0;
}

int page_map_add_extent(struct page_map *map, const struct page_extent *extent)
{
	void *table = map->extents;
	int r = grow(&table, map->n_extents, &map->extents_room, PAGE_MAP_EXTENTS_MAX,
		     sizeof(*extent));

	if (r < 0)
		return r;
	map->extents = table;
	map->extents[map->n_extents++] = *extent;
	return 0;
}

int page_map_add_region(struct page_map *map, const struct page_region *region)
{
	void *table = map->regions;
	int r = grow(&table, map->n_regions, &map->regions_room, PAGE_MAP_REGIONS_MAX,
		     sizeof(*region));

	if (r < 0)
		return r;
	map->regions = table;
	map->regions[map->n_regions++] = *region;
	return 0;
}
