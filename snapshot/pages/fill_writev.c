/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each thread takes the next chunk of all, has the following ones read meanwhile, checks and
 * decodes what has come and copies it into the tree.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

#include "snapshot/pages/fill_internal.h"
#include "snapshot/pages/target.h"

#define DEPTH	  3U /* read ahead per thread */
#define NO_CHUNK  SIZE_MAX
#define N_BUFFERS (DEPTH + 1) /* and one to decode into */

_Static_assert((uint64_t)FILL_THREADS_MAX *N_BUFFERS *PAGES_CHUNK_MAX <= FILL_BUFFERS_MAX,
	       "buffers within the promise");
_Static_assert(DEPTH <= READER_DEPTH_MAX, "slots for the depth");

struct shared {
	struct fill *fill;
	atomic_size_t next;
	atomic_bool failed;
};

struct fill_thread {
	struct shared *shared;
	pthread_t handle;
	bool runs;
	unsigned char *buffers;
	struct page_reader reader;
	struct page_target target;
	size_t chunks[DEPTH]; /* by slot; NO_CHUNK: free */
	int result;
	struct snap_error err;
};

/* the next chunk into a free slot; nothing when there is none */
static int begin_read(struct fill_thread *t, unsigned int slot)
{
	struct shared *shared = t->shared;
	const struct page_map *map = shared->fill->map;
	size_t i = atomic_fetch_add(&shared->next, 1);
	const struct page_chunk *chunk;

	t->chunks[slot] = NO_CHUNK;
	if (i >= map->n_chunks)
		return 0;
	chunk = &map->chunks[i];
	t->chunks[slot] = i;
	t->reader.slots[slot].offset = chunk->offset;
	t->reader.slots[slot].bytes =
		(chunk->stored_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	return t->reader.type->start(&t->reader, slot);
}

static int finish_chunk(struct fill_thread *t, unsigned int slot)
{
	struct fill *fill = t->shared->fill;
	const struct page_chunk *chunk = &fill->map->chunks[t->chunks[slot]];
	const unsigned char *bytes;
	int r = t->reader.type->finish(&t->reader, slot);

	if (r < 0)
		return snap_fail(&t->err, SNAP_E_CORRUPT, -r, "cannot read " PAGES_DATA_NAME);
	bytes = fill_decode(fill, chunk, t->reader.slots[slot].buf,
			    t->buffers + (size_t)DEPTH * PAGES_CHUNK_MAX);
	if (!bytes)
		return snap_fail_plain(&t->err, SNAP_E_CORRUPT, EUCLEAN,
				       PAGES_DATA_NAME " is damaged: chunk %zu of %zu",
				       t->chunks[slot], fill->map->n_chunks);
	r = page_target_put(&t->target, chunk, bytes);
	if (r < 0)
		return snap_fail(&t->err, SNAP_E_RESTORE, -r, "cannot write memory of pid %d",
				 (int)fill->map->spaces[chunk->space].pid);
	return 0;
}

static int fill_chunks(struct fill_thread *t)
{
	unsigned int slot = 0;
	int r = 0;

	for (unsigned int i = 0; r == 0 && i < t->reader.depth; i++)
		r = begin_read(t, i);
	while (r == 0 && t->chunks[slot] != NO_CHUNK && !atomic_load(&t->shared->failed)) {
		r = finish_chunk(t, slot);
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

	t->reader = (struct page_reader){.type = fill->reader, .fd = fill->data_fd, .depth = DEPTH};
	for (unsigned int i = 0; i < DEPTH; i++)
		t->reader.slots[i].buf = t->buffers + (size_t)i * PAGES_CHUNK_MAX;
	page_target_init(&t->target, fill->map);
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
	void *p = mmap(NULL, (size_t)N_BUFFERS * PAGES_CHUNK_MAX, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*t = (struct fill_thread){.shared = shared};
	if (p == MAP_FAILED)
		return false;
	t->buffers = p;
	return true;
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
	if (n == 0)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory for buffers");
	(void)run_thread(&threads[0]);
	for (unsigned int i = 0; i < n; i++) {
		if (threads[i].runs)
			(void)pthread_join(threads[i].handle, NULL);
		(void)munmap(threads[i].buffers, (size_t)N_BUFFERS * PAGES_CHUNK_MAX);
		if (r == 0 && threads[i].result < 0) {
			r = threads[i].result;
			if (err)
				*err = threads[i].err;
		}
	}
	return r;
}
