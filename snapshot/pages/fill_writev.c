/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each thread takes the next chunk of all and goes through it in blocks that stay in its core's
 * cache from the read over the checksum to the copy into the tree; the following blocks are read
 * meanwhile. A compressed chunk is gathered and decoded first, one of a device gathered.
 *
 * Memory is written before its checksum is known: a tree whose fill fails never runs.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "snapshot/pages/codec.h"
#include "snapshot/pages/fill_internal.h"
#include "snapshot/pages/target.h"
#include "snapshot/steps.h"

#define DEPTH_DIRECT 8U /* blocks read ahead by a device, per thread */
#define DEPTH_CACHED 2U /* copies out of the page cache: more would leave the core's cache */
#define NO_CHUNK     SIZE_MAX

/* of a thread: blocks, a gathered chunk, a decoded one */
#define GATHER_AT     ((size_t)READER_DEPTH_MAX * READER_BLOCK_BYTES)
#define DECODE_AT     (GATHER_AT + PAGES_CHUNK_MAX)
#define BUFFERS_BYTES (DECODE_AT + PAGES_CHUNK_MAX)

_Static_assert((uint64_t)FILL_THREADS_MAX *BUFFERS_BYTES <= FILL_BUFFERS_MAX,
	       "buffers within the promise");

struct shared {
	struct fill *fill;
	atomic_size_t next; /* chunk */
	atomic_bool failed;
};

/* a read under way: a block of a chunk's stored bytes */
struct block {
	size_t chunk; /* NO_CHUNK: none */
	uint32_t offset;
	uint32_t bytes;
};

struct fill_thread {
	struct shared *shared;
	pthread_t handle;
	bool runs;
	unsigned char *buffers;
	struct page_reader reader;
	struct page_target target;
	struct block blocks[READER_DEPTH_MAX]; /* by slot */
	/* the next block to be read */
	size_t reading;
	uint32_t read_offset;
	/* the chunk at hand */
	struct page_cursor cursor;
	struct fill_sum sum;
	int result;
	struct snap_error err;
};

static size_t next_chunk(struct shared *shared)
{
	const struct fill *fill = shared->fill;
	size_t i;

	do
		i = atomic_fetch_add(&shared->next, 1);
	while (i < fill->map->n_chunks && fill->filled && fill->filled[i]);
	return i;
}

/* the next block of all into a free slot; nothing when there is none */
static int begin_read(struct fill_thread *t, unsigned int slot)
{
	const struct page_map *map = t->shared->fill->map;
	const struct page_chunk *chunk;
	struct block *block = &t->blocks[slot];
	uint32_t left;

	if (t->reading == NO_CHUNK) {
		t->reading = next_chunk(t->shared);
		t->read_offset = 0;
	}
	block->chunk = NO_CHUNK;
	if (t->reading >= map->n_chunks)
		return 0;
	chunk = &map->chunks[t->reading];
	left = chunk->stored_bytes - t->read_offset;
	*block = (struct block){.chunk = t->reading,
				.offset = t->read_offset,
				.bytes = left < READER_BLOCK_BYTES ? left : READER_BLOCK_BYTES};
	t->reader.slots[slot].offset = chunk->offset + block->offset;
	t->reader.slots[slot].bytes = (uint32_t)page_round_up(block->bytes);
	t->read_offset += block->bytes;
	if (t->read_offset == chunk->stored_bytes)
		t->reading = NO_CHUNK;
	return t->reader.type->start(&t->reader, slot);
}

static int fail_damaged(struct fill_thread *t, const struct block *block)
{
	return snap_fail_plain(&t->err, SNAP_E_CORRUPT, EUCLEAN, "%s is damaged: chunk %zu of %zu",
			       page_files_data_name(t->shared->fill->map->files), block->chunk,
			       t->shared->fill->map->n_chunks);
}

static bool is_of_device(const struct fill_thread *t)
{
	return t->shared->fill->map->files == PAGE_FILES_DEVICES;
}

/* bytes of memory, whole pages, the next ones of the chunk */
static int put(struct fill_thread *t, const struct page_chunk *chunk, const unsigned char *bytes,
	       uint32_t size)
{
	int r;

	fill_sum_add(&t->sum, bytes, size);
	r = page_target_put(&t->target, chunk, &t->cursor, bytes, size);
	if (r < 0)
		return snap_fail(&t->err, SNAP_E_RESTORE, -r, "cannot write %smemory of pid %d",
				 is_of_device(t) ? "device " : "",
				 (int)t->shared->fill->map->spaces[chunk->space].pid);
	return 0;
}

static int put_block(struct fill_thread *t, const struct page_chunk *chunk,
		     const struct block *block, const unsigned char *bytes)
{
	bool is_last = block->offset + block->bytes == chunk->stored_bytes;
	unsigned char *decoded = t->buffers + DECODE_AT;

	/* a copy to a device waits for it: fewer and larger ones */
	if (chunk->codec == PAGE_CODEC_NONE && !is_of_device(t))
		return put(t, chunk, bytes, block->bytes);
	if (!is_last || block->offset > 0) {
		memcpy(t->buffers + GATHER_AT + block->offset, bytes, block->bytes);
		bytes = t->buffers + GATHER_AT;
	}
	if (!is_last)
		return 0;
	if (chunk->codec == PAGE_CODEC_NONE)
		return put(t, chunk, bytes, chunk->bytes);
	if (codec_decompress(chunk->codec, decoded, chunk->bytes, bytes, chunk->stored_bytes) < 0)
		return fail_damaged(t, block);
	return put(t, chunk, decoded, chunk->bytes);
}

static int finish_block(struct fill_thread *t, unsigned int slot)
{
	struct fill *fill = t->shared->fill;
	const struct block *block = &t->blocks[slot];
	const struct page_chunk *chunk = &fill->map->chunks[block->chunk];
	int r = t->reader.type->finish(&t->reader, slot);

	if (r >= 0 && block->offset == 0 && block->chunk == fill->map->n_chunks / 2) {
		r = steps_fault(is_of_device(t) ? "device-fill-half" : "fill-half", &t->err);
		if (r < 0)
			return r;
	}
	if (r < 0)
		return snap_fail(&t->err, SNAP_E_CORRUPT, -r, "cannot read %s",
				 page_files_data_name(fill->map->files));
	if (block->offset == 0) {
		t->cursor = (struct page_cursor){0};
		fill_sum_begin(fill, &t->sum);
	}
	r = put_block(t, chunk, block, t->reader.slots[slot].buf);
	if (r < 0)
		return r;
	if (block->offset + block->bytes == chunk->stored_bytes && !fill_sum_agrees(&t->sum, chunk))
		return fail_damaged(t, block);
	return 0;
}

static int fill_chunks(struct fill_thread *t)
{
	unsigned int slot = 0;
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < t->reader.depth; i++)
		r = begin_read(t, i);
	while (r == 0 && t->blocks[slot].chunk != NO_CHUNK && !atomic_load(&t->shared->failed)) {
		r = finish_block(t, slot);
		if (r == 0)
			r = begin_read(t, slot);
		slot = (slot + 1) % t->reader.depth;
	}
	return r;
}

static void *run_thread(void *arg)
{
	struct fill_thread *t = arg;
	struct fill *fill = t->shared->fill;
	int r;

	t->reader =
		(struct page_reader){.type = fill->reader,
				     .fd = fill->data_fd,
				     .depth = fill->result->direct ? DEPTH_DIRECT : DEPTH_CACHED};
	for (unsigned int i = 0; i < READER_DEPTH_MAX; i++)
		t->reader.slots[i].buf = t->buffers + (size_t)i * READER_BLOCK_BYTES;
	page_target_init(&t->target, fill->map, fill->options->device);
	r = fill->reader->open(&t->reader);
	if (r < 0)
		r = snap_fail(&t->err, SNAP_E_RESTORE, -r, "cannot start a reader");
	else
		r = fill_chunks(t);
	fill->reader->close(&t->reader);
	page_target_done(&t->target);
	t->result = r;
	if (r < 0)
		atomic_store(&t->shared->failed, true);
	return NULL;
}

static bool prepare(struct fill_thread *t, struct shared *shared)
{
	void *p = mmap(NULL, BUFFERS_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	*t = (struct fill_thread){
		.shared = shared, .reading = NO_CHUNK, .sum.state = XXH3_createState()};
	if (p == MAP_FAILED || !t->sum.state)
		return false;
	/* reads past the page cache take two thirds of the time then */
	(void)madvise(p, BUFFERS_BYTES, MADV_HUGEPAGE);
	t->buffers = p;
	return true;
}

static void clean_up(struct fill_thread *t)
{
	if (t->buffers)
		(void)munmap(t->buffers, BUFFERS_BYTES);
	(void)XXH3_freeState(t->sum.state);
}

int fill_run_writev(struct fill *fill, struct snap_error *err)
{
	struct shared shared = {.fill = fill};
	struct fill_thread threads[FILL_THREADS_MAX];
	unsigned int n = 0;
	int r = 0;

	while (n < fill->n_threads && prepare(&threads[n], &shared)) {
		/* the first is this thread */
		if (n > 0)
			threads[n].runs = pthread_create(&threads[n].handle, NULL, run_thread,
							 &threads[n]) == 0;
		n++;
	}
	if (n == 0) {
		clean_up(&threads[0]);
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory for buffers");
	}
	if (n < fill->n_threads)
		clean_up(&threads[n]);
	(void)run_thread(&threads[0]);
	for (unsigned int i = 0; i < n; i++) {
		if (threads[i].runs)
			(void)pthread_join(threads[i].handle, NULL);
		clean_up(&threads[i]);
		if (r == 0 && threads[i].result < 0) {
			r = threads[i].result;
			if (err)
				*err = threads[i].err;
		}
	}
	return r;
}
