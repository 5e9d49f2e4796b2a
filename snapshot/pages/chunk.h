/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_CHUNK_H
#define SNAP_SNAPSHOT_PAGES_CHUNK_H

/* The content of one chunk of pages.dat: decoded and compared with its checksum. */

#include <stdbool.h>
#include <xxhash.h>

#include "common/error.h"
#include "snapshot/pages/map.h"

static inline bool chunk_has_sum(const struct page_chunk *chunk, XXH128_hash_t sum)
{
	return sum.low64 == chunk->checksum_low && sum.high64 == chunk->checksum_high;
}

/* one after another, without reading ahead; for tools, a wake has fill.h */
struct chunk_reader {
	const struct page_map *map;
	int fd;
	unsigned char *buffers; /* two of PAGES_CHUNK_MAX */
};

/* the map is borrowed; *ret is the caller's to chunk_reader_close() */
int chunk_reader_open(int gen_fd, const struct page_map *map, struct chunk_reader *ret,
		      struct snap_error *err);
void chunk_reader_close(struct chunk_reader *reader); /* idempotent */

/*
 * Decode chunk i of the map from its stored_bytes bytes; spare has PAGES_CHUNK_MAX. *ret is one of
 * both. SNAP_E_CORRUPT as below
 */
int chunk_decode(const struct page_map *map, size_t i, const unsigned char *stored,
		 unsigned char *spare, const unsigned char **ret, struct snap_error *err);

/*
 * The bytes in memory of chunk i, good until the next call; its bytes in pages.dat then lie in
 * reader->buffers. SNAP_E_CORRUPT: it is damaged, and err
 * says which it is and where it belongs, the file's name is the caller's to add.
 */
int chunk_read(struct chunk_reader *reader, size_t i, const unsigned char **ret,
	       struct snap_error *err);

#endif
