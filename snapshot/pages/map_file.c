/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Bytes of pages.map. put_*() and get_*() name the fields in the order in which they lie there,
 * without gaps, so the pairs below are the format; docs/formats/pages.md has the offsets.
 */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/pages/map.h"

#define MAGIC	       "SNAPPAGE"
#define MAGIC_BYTES    8U
#define HEADER_BYTES   64U
#define CHECKSUM_AT    48U
#define CHECKSUM_BYTES 16U
#define SPACE_BYTES    48U
#define CHUNK_BYTES    56U
#define EXTENT_BYTES   16U
#define REGION_BYTES   144U

/* every product fits 64 bits, and a size_t where the bounds hold */
#define FILE_BYTES_MAX                                                                             \
	((size_t)HEADER_BYTES + (size_t)PAGE_MAP_SPACES_MAX * SPACE_BYTES +                        \
	 (size_t)PAGE_MAP_CHUNKS_MAX * CHUNK_BYTES + (size_t)PAGE_MAP_EXTENTS_MAX * EXTENT_BYTES + \
	 (size_t)PAGE_MAP_REGIONS_MAX * REGION_BYTES)

_Static_assert(sizeof(struct page_space) == SPACE_BYTES, "no padding in a space");
_Static_assert(sizeof(struct page_chunk) == CHUNK_BYTES, "no padding in a chunk");
_Static_assert(sizeof(struct page_extent) == EXTENT_BYTES, "no padding in an extent");
_Static_assert(sizeof(struct page_region) == REGION_BYTES, "no padding in a region");

#define REFUSE(err, files, ...)                   \
	refuse((err), page_files_map_name(files), \
	       snap_fail_plain((err), SNAP_E_CORRUPT, EBADMSG, __VA_ARGS__))

static int refuse(struct snap_error *err, const char *name, int r)
{
	snap_error_prefix(err, "%s", name);
	return r;
}

static void put16(uint8_t **at, uint16_t value)
{
	value = htole16(value);
	memcpy(*at, &value, sizeof(value));
	*at += sizeof(value);
}

static void put32(uint8_t **at, uint32_t value)
{
	value = htole32(value);
	memcpy(*at, &value, sizeof(value));
	*at += sizeof(value);
}

static void put64(uint8_t **at, uint64_t value)
{
	value = htole64(value);
	memcpy(*at, &value, sizeof(value));
	*at += sizeof(value);
}

static void put_text(uint8_t **at, const char *text, size_t size)
{
	memcpy(*at, text, size);
	*at += size;
}

static uint16_t get16(const uint8_t **at)
{
	uint16_t value;

	memcpy(&value, *at, sizeof(value));
	*at += sizeof(value);
	return le16toh(value);
}

static uint32_t get32(const uint8_t **at)
{
	uint32_t value;

	memcpy(&value, *at, sizeof(value));
	*at += sizeof(value);
	return le32toh(value);
}

static uint64_t get64(const uint8_t **at)
{
	uint64_t value;

	memcpy(&value, *at, sizeof(value));
	*at += sizeof(value);
	return le64toh(value);
}

static void get_text(const uint8_t **at, char *text, size_t size)
{
	memcpy(text, *at, size);
	*at += size;
}

static void put_space(uint8_t **at, const struct page_space *space)
{
	put32(at, space->kind);
	put32(at, (uint32_t)space->pid);
	put32(at, (uint32_t)space->fd);
	put32(at, space->first_chunk);
	put32(at, space->n_chunks);
	put32(at, space->pad);
	put64(at, space->start);
	put64(at, space->end);
	put64(at, space->object_bytes);
}

static void get_space(const uint8_t **at, struct page_space *space)
{
	space->kind = get32(at);
	space->pid = (int32_t)get32(at);
	space->fd = (int32_t)get32(at);
	space->first_chunk = get32(at);
	space->n_chunks = get32(at);
	space->pad = get32(at);
	space->start = get64(at);
	space->end = get64(at);
	space->object_bytes = get64(at);
}

static void put_chunk(uint8_t **at, const struct page_chunk *chunk)
{
	put64(at, chunk->offset);
	put64(at, chunk->checksum_low);
	put64(at, chunk->checksum_high);
	put32(at, chunk->stored_bytes);
	put32(at, chunk->bytes);
	put32(at, chunk->space);
	put32(at, chunk->first_extent);
	put32(at, chunk->n_extents);
	put32(at, chunk->rank);
	put16(at, chunk->codec);
	put16(at, chunk->flags);
	put32(at, chunk->pad);
}

static void get_chunk(const uint8_t **at, struct page_chunk *chunk)
{
	chunk->offset = get64(at);
	chunk->checksum_low = get64(at);
	chunk->checksum_high = get64(at);
	chunk->stored_bytes = get32(at);
	chunk->bytes = get32(at);
	chunk->space = get32(at);
	chunk->first_extent = get32(at);
	chunk->n_extents = get32(at);
	chunk->rank = get32(at);
	chunk->codec = get16(at);
	chunk->flags = get16(at);
	chunk->pad = get32(at);
}

static void put_extent(uint8_t **at, const struct page_extent *extent)
{
	put64(at, extent->address);
	put32(at, extent->n_pages);
	put32(at, extent->pad);
}

static void get_extent(const uint8_t **at, struct page_extent *extent)
{
	extent->address = get64(at);
	extent->n_pages = get32(at);
	extent->pad = get32(at);
}

static void put_region(uint8_t **at, const struct page_region *region)
{
	put64(at, region->start);
	put64(at, region->end);
	put64(at, region->stored_bytes);
	put64(at, region->zero_bytes);
	put64(at, region->shared_bytes);
	put64(at, region->kept_bytes);
	put32(at, (uint32_t)region->pid);
	put32(at, region->kept);
	put32(at, region->prot);
	put32(at, region->shared);
	put64(at, region->pad);
	put_text(at, region->name, sizeof(region->name));
	put64(at, region->pad2);
}

static void get_region(const uint8_t **at, struct page_region *region)
{
	region->start = get64(at);
	region->end = get64(at);
	region->stored_bytes = get64(at);
	region->zero_bytes = get64(at);
	region->shared_bytes = get64(at);
	region->kept_bytes = get64(at);
	region->pid = (int32_t)get32(at);
	region->kept = get32(at);
	region->prot = get32(at);
	region->shared = get32(at);
	region->pad = get64(at);
	get_text(at, region->name, sizeof(region->name));
	region->pad2 = get64(at);
}

struct header {
	uint32_t version;
	uint32_t header_bytes;
	uint32_t page_bytes;
	uint32_t pad;
	uint32_t n_spaces;
	uint32_t n_chunks;
	uint32_t n_extents;
	uint32_t n_regions;
	uint64_t data_bytes;
	XXH128_hash_t checksum;
};

static void put_header(uint8_t **at, const struct header *header)
{
	put_text(at, MAGIC, MAGIC_BYTES);
	put32(at, header->version);
	put32(at, header->header_bytes);
	put32(at, header->page_bytes);
	put32(at, header->pad);
	put32(at, header->n_spaces);
	put32(at, header->n_chunks);
	put32(at, header->n_extents);
	put32(at, header->n_regions);
	put64(at, header->data_bytes);
	put64(at, header->checksum.low64);
	put64(at, header->checksum.high64);
}

/* behind the magic */
static void get_header(const uint8_t **at, struct header *header)
{
	header->version = get32(at);
	header->header_bytes = get32(at);
	header->page_bytes = get32(at);
	header->pad = get32(at);
	header->n_spaces = get32(at);
	header->n_chunks = get32(at);
	header->n_extents = get32(at);
	header->n_regions = get32(at);
	header->data_bytes = get64(at);
	header->checksum.low64 = get64(at);
	header->checksum.high64 = get64(at);
}

static size_t file_bytes(const struct page_map *map)
{
	return HEADER_BYTES + map->n_spaces * SPACE_BYTES + map->n_chunks * CHUNK_BYTES +
	       map->n_extents * EXTENT_BYTES + map->n_regions * REGION_BYTES;
}

static void free_state(XXH3_state_t **state)
{
	(void)XXH3_freeState(*state);
	*state = NULL;
}

/* over the whole file, its own field as zeros */
static int map_checksum(const uint8_t *data, size_t size, XXH128_hash_t *ret,
			struct snap_error *err)
{
	static const uint8_t zeros[CHECKSUM_BYTES];
	snap_cleanup(free_state) XXH3_state_t *state = XXH3_createState();
	const size_t behind = CHECKSUM_AT + CHECKSUM_BYTES;

	if (!state || XXH3_128bits_reset(state) != XXH_OK)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot digest a page map");
	(void)XXH3_128bits_update(state, data, CHECKSUM_AT);
	(void)XXH3_128bits_update(state, zeros, sizeof(zeros));
	(void)XXH3_128bits_update(state, data + behind, size - behind);
	*ret = XXH3_128bits_digest(state);
	return 0;
}

static struct header header_of(const struct page_map *map)
{
	return (struct header){
		.version = PAGE_MAP_VERSION,
		.header_bytes = HEADER_BYTES,
		.page_bytes = PAGE_BYTES,
		.n_spaces = (uint32_t)map->n_spaces,
		.n_chunks = (uint32_t)map->n_chunks,
		.n_extents = (uint32_t)map->n_extents,
		.n_regions = (uint32_t)map->n_regions,
		.data_bytes = map->data_bytes,
	};
}

int page_map_format(const struct page_map *map, void **ret_data, size_t *ret_size,
		    struct snap_error *err)
{
	snap_cleanup_free uint8_t *data = NULL;
	struct header header;
	uint8_t *at;
	size_t size;
	int r;

	r = page_map_check(map, err);
	if (r < 0) {
		if (err)
			err->code = SNAP_E_INTERNAL;
		snap_error_prefix(err, "not written");
		return r;
	}

	header = header_of(map);
	size = file_bytes(map);
	data = malloc(size);
	if (!data)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot write '%s'",
				 page_files_map_name(map->files));
	at = data;
	put_header(&at, &header);
	for (size_t i = 0; i < map->n_spaces; i++)
		put_space(&at, &map->spaces[i]);
	for (size_t i = 0; i < map->n_chunks; i++)
		put_chunk(&at, &map->chunks[i]);
	for (size_t i = 0; i < map->n_extents; i++)
		put_extent(&at, &map->extents[i]);
	for (size_t i = 0; i < map->n_regions; i++)
		put_region(&at, &map->regions[i]);

	r = map_checksum(data, size, &header.checksum, err);
	if (r < 0)
		return r;
	at = data;
	put_header(&at, &header);
	*ret_size = size;
	*ret_data = TAKE_PTR(data);
	return 0;
}

static int check_header(const struct header *header, enum page_files files, struct snap_error *err)
{
	if (header->version != PAGE_MAP_VERSION)
		return snap_fail_plain(err, SNAP_E_INCOMPATIBLE, EPROTONOSUPPORT,
				       "%s has version %u, this snapinit reads %u",
				       page_files_map_name(files), header->version,
				       PAGE_MAP_VERSION);
	if (header->header_bytes != HEADER_BYTES)
		return REFUSE(err, files, "header of %u bytes, not %u", header->header_bytes,
			      HEADER_BYTES);
	if (header->page_bytes != PAGE_BYTES)
		return REFUSE(err, files, "pages of %u bytes, not %u", header->page_bytes,
			      PAGE_BYTES);
	if (header->pad != 0)
		return REFUSE(err, files, "pad of the header is not zero");
	if (header->n_spaces > PAGE_MAP_SPACES_MAX)
		return REFUSE(err, files, "%u spaces, %u are allowed", header->n_spaces,
			      PAGE_MAP_SPACES_MAX);
	if (header->n_chunks > PAGE_MAP_CHUNKS_MAX)
		return REFUSE(err, files, "%u chunks, %u are allowed", header->n_chunks,
			      PAGE_MAP_CHUNKS_MAX);
	if (header->n_extents > PAGE_MAP_EXTENTS_MAX)
		return REFUSE(err, files, "%u extents, %u are allowed", header->n_extents,
			      PAGE_MAP_EXTENTS_MAX);
	if (header->n_regions > PAGE_MAP_REGIONS_MAX)
		return REFUSE(err, files, "%u regions, %u are allowed", header->n_regions,
			      PAGE_MAP_REGIONS_MAX);
	return 0;
}

/* the tables behind the header, whose sizes have been compared with the file's */
static int get_tables(const uint8_t *at, struct page_map *map)
{
	/* one entry more, because calloc(0) may answer NULL */
	map->spaces = calloc(map->n_spaces + 1, sizeof(*map->spaces));
	map->chunks = calloc(map->n_chunks + 1, sizeof(*map->chunks));
	map->extents = calloc(map->n_extents + 1, sizeof(*map->extents));
	map->regions = calloc(map->n_regions + 1, sizeof(*map->regions));
	if (!map->spaces || !map->chunks || !map->extents || !map->regions)
		return -ENOMEM;
	map->spaces_room = map->n_spaces + 1;
	map->chunks_room = map->n_chunks + 1;
	map->extents_room = map->n_extents + 1;
	map->regions_room = map->n_regions + 1;
	for (size_t i = 0; i < map->n_spaces; i++)
		get_space(&at, &map->spaces[i]);
	for (size_t i = 0; i < map->n_chunks; i++)
		get_chunk(&at, &map->chunks[i]);
	for (size_t i = 0; i < map->n_extents; i++)
		get_extent(&at, &map->extents[i]);
	for (size_t i = 0; i < map->n_regions; i++)
		get_region(&at, &map->regions[i]);
	return 0;
}

/* counts into *ret, no tables yet; n bytes at `at` of a file of size bytes are there */
static int parse_header(const uint8_t *at, size_t n, size_t size, enum page_files files,
			struct page_map *ret, XXH128_hash_t *ret_checksum, struct snap_error *err)
{
	struct header header;
	int r;

	if (n < HEADER_BYTES)
		return REFUSE(err, files, "%zu bytes are no header", n);
	if (memcmp(at, MAGIC, MAGIC_BYTES) != 0)
		return REFUSE(err, files, "no page map, the magic is missing");
	at += MAGIC_BYTES;
	get_header(&at, &header);
	r = check_header(&header, files, err);
	if (r < 0)
		return r;
	*ret = (struct page_map){
		.files = files,
		.n_spaces = header.n_spaces,
		.n_chunks = header.n_chunks,
		.n_extents = header.n_extents,
		.n_regions = header.n_regions,
		.data_bytes = header.data_bytes,
	};
	if (size != file_bytes(ret))
		return REFUSE(err, files, "%zu bytes, its tables need %zu", size, file_bytes(ret));
	*ret_checksum = header.checksum;
	return 0;
}

int page_map_parse(const void *data, size_t size, enum page_files files, struct page_map *ret,
		   struct snap_error *err)
{
	XXH128_hash_t checksum, wanted;
	struct page_map map;
	int r = parse_header(data, size, size, files, &map, &wanted, err);

	if (r < 0)
		return r;
	r = map_checksum(data, size, &checksum, err);
	if (r < 0)
		return r;
	if (!XXH128_isEqual(checksum, wanted))
		return REFUSE(err, files, "its checksum differs");

	r = get_tables((const uint8_t *)data + HEADER_BYTES, &map);
	if (r < 0)
		(void)snap_fail(err, SNAP_E_INTERNAL, -r, "cannot read '%s'",
				page_files_map_name(files));
	else
		r = page_map_check(&map, err);
	if (r < 0) {
		page_map_done(&map);
		return r;
	}
	*ret = map;
	return 0;
}

int page_map_save(int gen_fd, const struct page_map *map, struct snap_error *err)
{
	snap_cleanup_free void *data = NULL;
	size_t size;
	int r;

	r = page_map_format(map, &data, &size, err);
	if (r < 0)
		return r;
	return io_replace_file(gen_fd, page_files_map_name(map->files), data, size, 0600, err);
}

static int read_map(int fd, enum page_files files, uint8_t **ret_data, size_t *ret_size,
		    struct snap_error *err)
{
	const char *name = page_files_map_name(files);
	snap_cleanup_free uint8_t *data = NULL;
	uint8_t head[HEADER_BYTES];
	XXH128_hash_t checksum;
	struct page_map counts;
	struct stat st;
	size_t size;
	ssize_t n;
	int r;

	if (fstat(fd, &st) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot read '%s'", name);
	if (!S_ISREG(st.st_mode))
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG, "'%s' is no regular file",
				       name);
	if (st.st_size < 0 || (uint64_t)st.st_size > FILE_BYTES_MAX)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EFBIG, "'%s' is larger than %zu bytes",
				       name, FILE_BYTES_MAX);
	size = (size_t)st.st_size;
	/* the header first: what makes no sense is not worth the memory */
	n = io_pread_full(fd, head, sizeof(head), 0);
	r = n < 0 ? 0 : parse_header(head, (size_t)n, size, files, &counts, &checksum, err);
	if (r < 0)
		return r;
	data = malloc(size + 1);
	if (!data)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot read '%s'", name);
	n = n < 0 ? n : io_pread_full(fd, data, size, 0);
	if (n < 0)
		return snap_fail(err, SNAP_E_CORRUPT, (int)-n, "cannot read '%s'", name);
	*ret_size = (size_t)n;
	*ret_data = TAKE_PTR(data);
	return 0;
}

static int check_data_file(const struct stat *st, const struct page_map *map,
			   struct snap_error *err)
{
	const char *name = page_files_data_name(map->files);

	if (!S_ISREG(st->st_mode))
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG, "'%s' is no regular file",
				       name);
	if (st->st_size < 0 || (uint64_t)st->st_size != map->data_bytes)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG,
				       "'%s' has %" PRId64 " bytes, %s says %" PRIu64, name,
				       (int64_t)st->st_size, page_files_map_name(map->files),
				       map->data_bytes);
	return 0;
}

static int load(int map_fd, const struct stat *data_st, enum page_files files, struct page_map *ret,
		struct snap_error *err)
{
	snap_cleanup_free uint8_t *data = NULL;
	struct page_map map;
	size_t size;
	int r;

	r = read_map(map_fd, files, &data, &size, err);
	if (r < 0)
		return r;
	r = page_map_parse(data, size, files, &map, err);
	if (r < 0)
		return r;
	r = check_data_file(data_st, &map, err);
	if (r < 0) {
		page_map_done(&map);
		return r;
	}
	*ret = map;
	return 0;
}

int page_map_load(int gen_fd, enum page_files files, struct page_map *ret, struct snap_error *err)
{
	const char *map_name = page_files_map_name(files);
	const char *data_name = page_files_data_name(files);
	/* O_NONBLOCK: a FIFO in its place must not hold up the wake */
	snap_cleanup_close int fd =
		openat(gen_fd, map_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open '%s'", map_name);
	if (fstatat(gen_fd, data_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open '%s'", data_name);
	return load(fd, &st, files, ret, err);
}

int page_map_load_from(int map_fd, int data_fd, struct page_map *ret, struct snap_error *err)
{
	struct stat st;

	if (fstat(data_fd, &st) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot read '%s'", PAGES_DATA_NAME);
	return load(map_fd, &st, PAGE_FILES_TREE, ret, err);
}
