/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The rules of docs/formats/pages.md, in one pass over spaces, their chunks and their extents, so
 * that each of the three tables is walked once and in order. Only two rules compare what lies
 * apart, pids and places in pages.dat; both sort a copy of the keys.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "snapshot/pages/map.h"

#define PID_LIMIT   4194304 /* PID_MAX_LIMIT of 64-bit kernels */
#define CHUNK_FLAGS ((unsigned int)(PAGE_CHUNK_DENSE | PAGE_CHUNK_READ_ONLY | PAGE_CHUNK_NO_HUGE))
#define KEPT_BITS   (2U * PAGE_KEPT_UNREACHABLE - 1)
#define PROT_BITS   ((uint32_t)(PROT_READ | PROT_WRITE | PROT_EXEC))

/* page_map_check() puts the file's name in front */
#define REFUSE(err, ...) snap_fail_plain((err), SNAP_E_CORRUPT, EBADMSG, __VA_ARGS__)

/* what is next in the tables, and where the last extent of the space ended */
struct walk {
	const struct page_map *map;
	size_t chunk;
	size_t extent;
	uint64_t end;
};

static bool is_aligned(uint64_t value)
{
	return value % PAGE_BYTES == 0;
}

static bool is_range(uint64_t start, uint64_t end)
{
	return start < end && is_aligned(start) && is_aligned(end);
}

static int check_counts(const struct page_map *map, struct snap_error *err)
{
	if (map->n_spaces > PAGE_MAP_SPACES_MAX)
		return REFUSE(err, "%zu spaces, %u are allowed", map->n_spaces,
			      PAGE_MAP_SPACES_MAX);
	if (map->n_chunks > PAGE_MAP_CHUNKS_MAX)
		return REFUSE(err, "%zu chunks, %u are allowed", map->n_chunks,
			      PAGE_MAP_CHUNKS_MAX);
	if (map->n_extents > PAGE_MAP_EXTENTS_MAX)
		return REFUSE(err, "%zu extents, %u are allowed", map->n_extents,
			      PAGE_MAP_EXTENTS_MAX);
	if (map->n_regions > PAGE_MAP_REGIONS_MAX)
		return REFUSE(err, "%zu regions, %u are allowed", map->n_regions,
			      PAGE_MAP_REGIONS_MAX);
	if (map->data_bytes > PAGE_MAP_DATA_MAX)
		return REFUSE(err, "%" PRIu64 " bytes of data, %" PRIu64 " are allowed",
			      map->data_bytes, PAGE_MAP_DATA_MAX);
	return 0;
}

static int check_shared(const struct page_space *space, size_t i, struct snap_error *err)
{
	bool has_mapping = space->start != 0 || space->end != 0;

	if (space->fd < -1)
		return REFUSE(err, "space %zu: descriptor %d", i, space->fd);
	if (has_mapping && (space->start == 0 || !is_range(space->start, space->end)))
		return REFUSE(err, "space %zu: mapping %#" PRIx64 "-%#" PRIx64 " is no page range",
			      i, space->start, space->end);
	if (has_mapping && space->end > PAGE_MAP_ADDRESS_END)
		return REFUSE(err, "space %zu: mapping ends beyond user space", i);
	if (space->fd < 0 && !has_mapping)
		return REFUSE(err, "space %zu: neither descriptor nor mapping of the object", i);
	if (space->object_bytes > PAGE_MAP_OBJECT_MAX)
		return REFUSE(err,
			      "space %zu: object of %" PRIu64 " bytes, %" PRIu64 " are allowed", i,
			      space->object_bytes, PAGE_MAP_OBJECT_MAX);
	return 0;
}

/* one index is one GPU, of whichever process: nothing else of the host's is named */
static int check_device(const struct page_space *space, size_t i, struct snap_error *err)
{
	if (space->fd < 0 || space->fd >= PAGE_MAP_DEVICES_MAX)
		return REFUSE(err, "space %zu: GPU %d is not within 0 and %d", i, space->fd,
			      PAGE_MAP_DEVICES_MAX - 1);
	if (space->start || space->end)
		return REFUSE(err, "space %zu: device memory with a mapping", i);
	if (space->object_bytes == 0 || space->object_bytes > PAGE_MAP_OBJECT_MAX)
		return REFUSE(err,
			      "space %zu: %" PRIu64 " bytes of device memory, not within 1 and "
			      "%" PRIu64,
			      i, space->object_bytes, PAGE_MAP_OBJECT_MAX);
	return 0;
}

static bool is_for(enum page_files files, uint32_t kind)
{
	return (kind == PAGE_SPACE_DEVICE) == (files == PAGE_FILES_DEVICES);
}

static int check_space(const struct walk *walk, size_t i, struct snap_error *err)
{
	const struct page_space *space = &walk->map->spaces[i];

	if (space->pid <= 1 || space->pid > PID_LIMIT)
		return REFUSE(err, "space %zu: pid %d is not within 2 and %d", i, space->pid,
			      PID_LIMIT);
	if (space->pad != 0)
		return REFUSE(err, "space %zu: pad is not zero", i);
	if (space->first_chunk != walk->chunk)
		return REFUSE(err, "space %zu: its first chunk is %u, not %zu", i,
			      space->first_chunk, walk->chunk);
	if (space->n_chunks > walk->map->n_chunks - walk->chunk)
		return REFUSE(err, "space %zu: %u chunks, the table has %zu left", i,
			      space->n_chunks, walk->map->n_chunks - walk->chunk);
	if (space->kind < PAGE_SPACE_TASK || space->kind > PAGE_SPACE_DEVICE)
		return REFUSE(err, "space %zu: unknown kind %u", i, space->kind);
	if (!is_for(walk->map->files, space->kind))
		return REFUSE(err, "space %zu: kind %u does not belong here", i, space->kind);
	if (space->kind == PAGE_SPACE_SHARED)
		return check_shared(space, i, err);
	if (space->kind == PAGE_SPACE_DEVICE)
		return check_device(space, i, err);
	if (space->fd < -1 || space->fd > 0 || space->start || space->end || space->object_bytes)
		return REFUSE(err, "space %zu: a process with fields of a shared object", i);
	return 0;
}

static int check_chunk(const struct walk *walk, size_t space, struct snap_error *err)
{
	const struct page_chunk *chunk = &walk->map->chunks[walk->chunk];
	size_t i = walk->chunk;

	if (chunk->space != space)
		return REFUSE(err, "chunk %zu: says space %u, lies in space %zu", i, chunk->space,
			      space);
	if (chunk->pad != 0)
		return REFUSE(err, "chunk %zu: pad is not zero", i);
	if (chunk->codec >= PAGE_CODEC_MAX_)
		return REFUSE(err, "chunk %zu: unknown codec %u", i, chunk->codec);
	if ((chunk->flags & ~CHUNK_FLAGS) != 0)
		return REFUSE(err, "chunk %zu: unknown flags %#x", i, chunk->flags);
	if (chunk->bytes == 0 || chunk->bytes > PAGES_CHUNK_MAX)
		return REFUSE(err, "chunk %zu: %u bytes, not within 1 and %u", i, chunk->bytes,
			      PAGES_CHUNK_MAX);
	if (chunk->stored_bytes == 0 || chunk->stored_bytes > chunk->bytes)
		return REFUSE(err, "chunk %zu: %u bytes stored, not within 1 and %u", i,
			      chunk->stored_bytes, chunk->bytes);
	if (chunk->codec == PAGE_CODEC_NONE && chunk->stored_bytes != chunk->bytes)
		return REFUSE(err, "chunk %zu: %u bytes stored without codec, %u in memory", i,
			      chunk->stored_bytes, chunk->bytes);
	if (!is_aligned(chunk->offset))
		return REFUSE(err, "chunk %zu: offset %" PRIu64 " is not aligned to pages", i,
			      chunk->offset);
	if (chunk->offset > walk->map->data_bytes ||
	    chunk->stored_bytes > walk->map->data_bytes - chunk->offset)
		return REFUSE(err, "chunk %zu: ends beyond the data", i);
	if (chunk->first_extent != walk->extent)
		return REFUSE(err, "chunk %zu: its first extent is %u, not %zu", i,
			      chunk->first_extent, walk->extent);
	if (chunk->n_extents > walk->map->n_extents - walk->extent)
		return REFUSE(err, "chunk %zu: %u extents, the table has %zu left", i,
			      chunk->n_extents, walk->map->n_extents - walk->extent);
	return 0;
}

/* extents of the walk's chunk; limit is where addresses of its space end */
static int check_extents(struct walk *walk, uint64_t limit, struct snap_error *err)
{
	const struct page_chunk *chunk = &walk->map->chunks[walk->chunk];
	size_t end = walk->extent + chunk->n_extents;
	uint64_t sum = 0;

	for (; walk->extent < end; walk->extent++) {
		const struct page_extent *extent = &walk->map->extents[walk->extent];
		uint64_t bytes = (uint64_t)extent->n_pages * PAGE_BYTES;

		if (extent->pad != 0)
			return REFUSE(err, "extent %zu: pad is not zero", walk->extent);
		if (!is_aligned(extent->address))
			return REFUSE(err, "extent %zu: address %#" PRIx64 " is not aligned",
				      walk->extent, extent->address);
		if (bytes == 0)
			return REFUSE(err, "extent %zu: has no pages", walk->extent);
		if (extent->address > limit || bytes > limit - extent->address)
			return REFUSE(err, "extent %zu: ends beyond %#" PRIx64, walk->extent,
				      limit);
		if (extent->address < walk->end)
			return REFUSE(err, "extent %zu: begins before the end of the one before",
				      walk->extent);
		walk->end = extent->address + bytes;
		sum += bytes;
	}
	if (sum != chunk->bytes)
		return REFUSE(err, "chunk %zu: %u bytes, its extents add up to %" PRIu64,
			      walk->chunk, chunk->bytes, sum);
	return 0;
}

static uint64_t address_limit(const struct page_space *space)
{
	if (space->kind == PAGE_SPACE_TASK)
		return PAGE_MAP_ADDRESS_END;
	return page_round_up(space->object_bytes);
}

static int check_tables(const struct page_map *map, struct snap_error *err)
{
	struct walk walk = {.map = map};
	size_t end;
	int r;

	for (size_t i = 0; i < map->n_spaces; i++) {
		r = check_space(&walk, i, err);
		if (r < 0)
			return r;
		walk.end = 0;
		for (end = walk.chunk + map->spaces[i].n_chunks; walk.chunk < end; walk.chunk++) {
			r = check_chunk(&walk, i, err);
			if (r < 0)
				return r;
			r = check_extents(&walk, address_limit(&map->spaces[i]), err);
			if (r < 0)
				return r;
		}
	}
	if (walk.chunk != map->n_chunks)
		return REFUSE(err, "chunk %zu: belongs to no space", walk.chunk);
	if (walk.extent != map->n_extents)
		return REFUSE(err, "extent %zu: belongs to no chunk", walk.extent);
	return 0;
}

/* what is filled once: private memory of a process (gpu -1), or its memory on one GPU */
struct owner {
	int32_t pid;
	int32_t gpu;
};

static int compare_owners(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return (x->gpu > y->gpu) - (x->gpu < y->gpu);
}

/* two tables for one address space would fill it twice */
static int check_owners(const struct page_map *map, struct snap_error *err)
{
	snap_cleanup_free struct owner *owners = malloc((map->n_spaces + 1) * sizeof(*owners));
	size_t n = 0;

	if (!owners)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; i < map->n_spaces; i++) {
		const struct page_space *space = &map->spaces[i];

		if (space->kind != PAGE_SPACE_SHARED)
			owners[n++] = (struct owner){
				space->pid, space->kind == PAGE_SPACE_DEVICE ? space->fd : -1};
	}
	qsort(owners, n, sizeof(*owners), compare_owners);
	for (size_t i = 1; i < n; i++) {
		if (compare_owners(&owners[i], &owners[i - 1]) != 0)
			continue;
		if (owners[i].gpu < 0)
			return REFUSE(err, "pid %d has two spaces", owners[i].pid);
		return REFUSE(err, "pid %d has two spaces on GPU %d", owners[i].pid, owners[i].gpu);
	}
	return 0;
}

struct place {
	uint64_t offset;
	size_t chunk;
};

static int compare_places(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return (x->chunk > y->chunk) - (x->chunk < y->chunk);
}

static bool is_same_data(const struct page_chunk *a, const struct page_chunk *b)
{
	return a->stored_bytes == b->stored_bytes && a->bytes == b->bytes && a->codec == b->codec &&
	       a->checksum_low == b->checksum_low && a->checksum_high == b->checksum_high;
}

/* data of two chunks is the same or apart; without equal fields one of both would not decode */
static int check_places(const struct page_map *map, struct snap_error *err)
{
	snap_cleanup_free struct place *places = malloc((map->n_chunks + 1) * sizeof(*places));
	bool is_sorted = true;

	if (!places)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; i < map->n_chunks; i++) {
		places[i] = (struct place){map->chunks[i].offset, i};
		is_sorted = is_sorted && (i == 0 || places[i - 1].offset <= places[i].offset);
	}
	/* a capture writes in the order of the table, unless chunks share data */
	if (!is_sorted)
		qsort(places, map->n_chunks, sizeof(*places), compare_places);
	for (size_t i = 1; i < map->n_chunks; i++) {
		const struct page_chunk *before = &map->chunks[places[i - 1].chunk];
		const struct page_chunk *chunk = &map->chunks[places[i].chunk];

		if (chunk->offset == before->offset && !is_same_data(chunk, before))
			return REFUSE(err, "chunk %zu: shares the data of chunk %zu but differs",
				      places[i].chunk, places[i - 1].chunk);
		if (chunk->offset != before->offset &&
		    chunk->offset - before->offset < before->stored_bytes)
			return REFUSE(err, "chunk %zu: its data overlaps that of chunk %zu",
				      places[i].chunk, places[i - 1].chunk);
	}
	return 0;
}

static bool is_name(const char *name)
{
	const char *end = memchr(name, '\0', PAGE_REGION_NAME_MAX);

	/* what is behind the NUL would be memory of the writer's */
	for (; end && end < name + PAGE_REGION_NAME_MAX; end++) {
		if (*end != '\0')
			return false;
	}
	return end != NULL;
}

static int check_region(const struct page_region *region, size_t i, struct snap_error *err)
{
	uint64_t size = region->end - region->start;

	if (!is_range(region->start, region->end))
		return REFUSE(err, "region %zu: %#" PRIx64 "-%#" PRIx64 " is no page range", i,
			      region->start, region->end);
	if (region->stored_bytes > size)
		return REFUSE(err, "region %zu: more bytes stored than it has", i);
	if (region->zero_bytes > size)
		return REFUSE(err, "region %zu: more zero bytes than it has", i);
	if (region->shared_bytes > size)
		return REFUSE(err, "region %zu: more shared bytes than it has", i);
	if (region->kept_bytes > size)
		return REFUSE(err, "region %zu: more kept bytes than it has", i);
	if (region->pid <= 1 || region->pid > PID_LIMIT)
		return REFUSE(err, "region %zu: pid %d is not within 2 and %d", i, region->pid,
			      PID_LIMIT);
	if ((region->kept & ~KEPT_BITS) != 0)
		return REFUSE(err, "region %zu: unknown reasons %#x", i, region->kept);
	if ((region->prot & ~PROT_BITS) != 0)
		return REFUSE(err, "region %zu: unknown protection %#x", i, region->prot);
	if (region->shared > 1)
		return REFUSE(err, "region %zu: shared is %u, neither 0 nor 1", i, region->shared);
	if (region->pad != 0 || region->pad2 != 0)
		return REFUSE(err, "region %zu: pad is not zero", i);
	if (!is_name(region->name))
		return REFUSE(err, "region %zu: its name is not ended by NUL alone", i);
	return 0;
}

int page_map_check(const struct page_map *map, struct snap_error *err)
{
	int r = check_counts(map, err);

	if (r == 0)
		r = check_tables(map, err);
	if (r == 0)
		r = check_owners(map, err);
	if (r == 0)
		r = check_places(map, err);
	for (size_t i = 0; r == 0 && i < map->n_regions; i++)
		r = check_region(&map->regions[i], i, err);
	if (r < 0)
		snap_error_prefix(err, "%s", page_files_map_name(map->files));
	return r;
}
