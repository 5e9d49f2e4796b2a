/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/pages/codec.h"

/* the bytes in memory, in `stored` or in `spare`; NULL: what came out is not what went in */
static const unsigned char *decode(const struct page_chunk *chunk, const unsigned char *stored,
				   unsigned char *spare)
{
	const unsigned char *bytes = stored;

	if (chunk->codec != PAGE_CODEC_NONE) {
		if (codec_decompress(chunk->codec, spare, chunk->bytes, stored,
				     chunk->stored_bytes) < 0)
			return NULL;
		bytes = spare;
	}
	return chunk_has_sum(chunk, XXH3_128bits(bytes, chunk->bytes)) ? bytes : NULL;
}

static const char *const kind_words[] = {
	[PAGE_SPACE_TASK] = "memory",
	[PAGE_SPACE_SHARED] = "shared object",
	[PAGE_SPACE_DEVICE] = "device memory",
};

int chunk_decode(const struct page_map *map, size_t i, const unsigned char *stored,
		 unsigned char *spare, const unsigned char **ret, struct snap_error *err)
{
	const struct page_chunk *chunk = &map->chunks[i];
	const struct page_space *space = &map->spaces[chunk->space];

	*ret = decode(chunk, stored, spare);
	if (*ret)
		return 0;
	return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
			       "chunk %zu of %zu is damaged: byte %" PRIu64
			       " of the file, %s of pid %d from 0x%" PRIx64,
			       i, map->n_chunks, chunk->offset, kind_words[space->kind],
			       (int)space->pid, map->extents[chunk->first_extent].address);
}

int chunk_reader_open(int gen_fd, const struct page_map *map, struct chunk_reader *ret,
		      struct snap_error *err)
{
	const char *name = page_files_data_name(map->files);

	*ret = (struct chunk_reader){.map = map, .buffers = malloc((size_t)2 * PAGES_CHUNK_MAX)};
	ret->fd = openat(gen_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	if (ret->fd < 0 || !ret->buffers) {
		int r = ret->fd < 0 ? errno : ENOMEM;

		chunk_reader_close(ret);
		return snap_fail(err, r == ENOMEM ? SNAP_E_INTERNAL : SNAP_E_CORRUPT, r,
				 "cannot open '%s'", name);
	}
	return 0;
}

void chunk_reader_close(struct chunk_reader *reader)
{
	free(reader->buffers);
	reader->buffers = NULL;
	reader->fd = fd_close(reader->fd);
}

int chunk_read(struct chunk_reader *reader, size_t i, const unsigned char **ret,
	       struct snap_error *err)
{
	const struct page_chunk *chunk = &reader->map->chunks[i];
	ssize_t n = io_pread_full(reader->fd, reader->buffers, chunk->stored_bytes, chunk->offset);

	if (n != (ssize_t)chunk->stored_bytes)
		return snap_fail(err, SNAP_E_CORRUPT, n < 0 ? (int)-n : ENODATA,
				 "chunk %zu of %zu cannot be read", i, reader->map->n_chunks);
	return chunk_decode(reader->map, i, reader->buffers, reader->buffers + PAGES_CHUNK_MAX, ret,
			    err);
}
