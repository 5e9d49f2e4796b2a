/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/readback.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <xxhash.h>

#include "common/cleanup.h"

#define STEP_BYTES (256U << 10) /* half of a small second-level cache */
#define STEP_PAGES (STEP_BYTES / PAGE_BYTES)

/* walks the pages of a chunk */
struct cursor {
	const struct page_extent *extent;
	uint32_t page; /* of it */
	uint32_t left; /* bytes */
};

/* the next pages, up to a step; how many bytes */
static size_t take_step(struct cursor *cursor, struct iovec *remote, unsigned int *ret_n)
{
	size_t bytes = 0;
	unsigned int n = 0;

	while (bytes < STEP_BYTES && bytes < cursor->left) {
		const struct page_extent *extent = cursor->extent;
		size_t size = (size_t)(extent->n_pages - cursor->page) * PAGE_BYTES;

		if (size > STEP_BYTES - bytes)
			size = STEP_BYTES - bytes;
		remote[n++] = (struct iovec){
			(void *)(uintptr_t)(extent->address + (uint64_t)cursor->page * PAGE_BYTES),
			size};
		bytes += size;
		cursor->page += (uint32_t)(size / PAGE_BYTES);
		if (cursor->page == extent->n_pages) {
			cursor->extent++;
			cursor->page = 0;
		}
	}
	cursor->left -= (uint32_t)bytes;
	*ret_n = n;
	return bytes;
}

/* 0, -EUCLEAN: not what it was, or -errno: cannot be read */
static int check_chunk(const struct page_map *map, const struct page_chunk *chunk,
		       XXH3_state_t *state, void *buf)
{
	pid_t pid = map->spaces[chunk->space].pid;
	struct cursor cursor = {.extent = &map->extents[chunk->first_extent], .left = chunk->bytes};
	XXH128_hash_t sum;

	(void)XXH3_128bits_reset(state);
	while (cursor.left > 0) {
		struct iovec local = {buf, 0}, remote[STEP_PAGES];
		unsigned int n;
		ssize_t got;

		local.iov_len = take_step(&cursor, remote, &n);
		got = process_vm_readv(pid, &local, 1, remote, n, 0);
		if (got < 0)
			return -errno;
		if ((size_t)got != local.iov_len)
			return -EFAULT;
		(void)XXH3_128bits_update(state, buf, local.iov_len);
	}
	sum = XXH3_128bits_digest(state);
	return sum.low64 == chunk->checksum_low && sum.high64 == chunk->checksum_high ? 0
										      : -EUCLEAN;
}

/* false: there is none, and will be none */
static bool pop(struct readback *readback, uint32_t *ret)
{
	bool found;

	(void)pthread_mutex_lock(&readback->lock);
	while (readback->n_out == readback->n_in && !readback->closed)
		(void)pthread_cond_wait(&readback->changed, &readback->lock);
	found = readback->n_out < readback->n_in;
	if (found)
		*ret = readback->queue[readback->n_out++];
	(void)pthread_mutex_unlock(&readback->lock);
	return found && !atomic_load(&readback->failed);
}

static void fail(struct readback *readback, uint32_t i)
{
	(void)pthread_mutex_lock(&readback->lock);
	if (readback->result == 0)
		readback->result = snap_fail_plain(&readback->err, SNAP_E_CORRUPT, EUCLEAN,
						   PAGES_DATA_NAME " is damaged: chunk %u of %zu",
						   (unsigned int)i, readback->fill->map->n_chunks);
	(void)pthread_mutex_unlock(&readback->lock);
	atomic_store(&readback->failed, true);
}

static void *run_thread(void *arg)
{
	struct readback *readback = arg;
	struct fill *fill = readback->fill;
	snap_cleanup_free void *buf = malloc(STEP_BYTES);
	XXH3_state_t *state = XXH3_createState();
	uint32_t i;

	/* without memory nothing is noted, and goes the other way */
	while (buf && state && pop(readback, &i)) {
		int r = check_chunk(fill->map, &fill->map->chunks[i], state, buf);

		if (r == -EUCLEAN)
			fail(readback, i);
		fill->filled[i] = r == 0;
	}
	(void)XXH3_freeState(state);
	return NULL;
}

int readback_start(struct readback *readback, struct fill *fill)
{
	*readback = (struct readback){.fill = fill,
				      .lock = PTHREAD_MUTEX_INITIALIZER,
				      .changed = PTHREAD_COND_INITIALIZER};
	if (fill->options->verify == FILL_VERIFY_HEADER)
		return 0;
	readback->queue = calloc(fill->map->n_chunks, sizeof(*readback->queue));
	if (!readback->queue)
		return -ENOMEM;
	/* one CPU is busy in the tree, clearing the pages that are read into */
	while ((readback->n_threads == 0 || readback->n_threads + 1 < fill->n_threads) &&
	       pthread_create(&readback->threads[readback->n_threads], NULL, run_thread,
			      readback) == 0)
		readback->n_threads++;
	return 0;
}

void readback_push(struct readback *readback, uint32_t chunk)
{
	if (!readback->queue) {
		readback->fill->filled[chunk] = 1;
		return;
	}
	(void)pthread_mutex_lock(&readback->lock);
	readback->queue[readback->n_in++] = chunk;
	(void)pthread_cond_signal(&readback->changed);
	(void)pthread_mutex_unlock(&readback->lock);
}

int readback_finish(struct readback *readback, struct snap_error *err)
{
	if (!readback->queue)
		return 0;
	(void)pthread_mutex_lock(&readback->lock);
	readback->closed = true;
	(void)pthread_cond_broadcast(&readback->changed);
	(void)pthread_mutex_unlock(&readback->lock);
	(void)run_thread(readback);
	for (unsigned int i = 0; i < readback->n_threads; i++)
		(void)pthread_join(readback->threads[i], NULL);
	free(readback->queue);
	readback->queue = NULL;
	if (readback->result < 0 && err)
		*err = readback->err;
	return readback->result;
}
