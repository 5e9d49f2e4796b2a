/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ring in each process that has enough to read: reads land in the final pages, with no buffer
 * and no copy of ours. The reads of a process are in flight a window at a time; what has come is
 * read back and hashed by threads meanwhile (readback.h).
 *
 * No read may block (RWF_NOWAIT): the kernel would give it to a helper thread in the process, and
 * in a process that is stopped such a thread stops too and does not end before the process runs.
 *
 * A ring that has done its part is closed at once. The kernel needs some milliseconds to free it;
 * what no ring can do (compressed chunks, read-only mappings, shared objects, small processes), and
 * what a ring could not do after all, is filled by fill_run_writev() in that time. At the end every
 * ring must be gone, for a read that is late would hit memory in use.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "common/clock.h"
#include "snapshot/pages/fill_internal.h"
#include "snapshot/pages/readback.h"
#include "snapshot/steps.h"
#include "snapshot/task/remote_ring.h"

#define RINGS_MAX      16U	  /* each keeps one process attached */
#define RING_MIN_BYTES (4U << 20) /* of a process: less is quicker without a ring */
#define WINDOW	       32U	  /* chunks in flight: more would wait for tags of the device */
#define ENTER_MS       250U
#define TRIES_MAX      16U   /* of a read that would block */
#define STALL_MS       3000U /* without one completion */
#define SETTLE_MS      5000U
#define IOVECS_A_CHUNK (PAGES_CHUNK_MAX / PAGE_BYTES)
#define IOVEC_ROOM     (IOVECS_A_CHUNK * sizeof(struct iovec))

struct flight {
	uint32_t chunk;
	uint32_t done; /* bytes that have come */
	unsigned int tries;
	bool busy;
};

struct space_ring {
	pid_t pid;
	struct injector injector;
	struct remote_ring ring;
	struct flight flights[WINDOW];
	unsigned int in_flight;
	bool refused;	  /* by the file system: no more of them */
	uint64_t last_ns; /* when something came */
};

struct ring_fill {
	struct fill *fill;
	struct readback readback;
	struct space_ring *rings;
	size_t n_rings;
};

static void note_why(struct fill *fill, const struct snap_error *err)
{
	if (fill->result->why[0] == '\0')
		(void)snprintf(fill->result->why, FILL_WHY_MAX, "%.*s", (int)FILL_WHY_MAX - 1,
			       err->msg);
}

static bool is_for_ring(const struct page_chunk *chunk)
{
	return chunk->codec == PAGE_CODEC_NONE && !(chunk->flags & PAGE_CHUNK_READ_ONLY);
}

static uint64_t count_for_ring(const struct page_map *map, const struct page_space *space)
{
	uint64_t bytes = 0;

	if (space->kind != PAGE_SPACE_TASK)
		return 0;
	for (uint32_t i = 0; i < space->n_chunks; i++) {
		const struct page_chunk *chunk = &map->chunks[space->first_chunk + i];

		bytes += is_for_ring(chunk) ? chunk->bytes : 0;
	}
	return bytes;
}

/* a filter may answer our call with a signal that kills: it must not see it */
static int attach(pid_t pid, struct injector *ret, struct snap_error *err)
{
	bool filtered = false;
	int r = injector_attach_past_filters(pid, NULL, ret, &filtered, err);

	if (r < 0 || !filtered)
		return r;
	return snap_fail_plain(err, SNAP_E_PREFLIGHT, EPERM,
			       "a seccomp filter of pid %d would see our calls", (int)pid);
}

/* 0, or -errno and nothing is left of it */
static int open_ring(struct space_ring *s, int data_fd, struct snap_error *err)
{
	int r = attach(s->pid, &s->injector, err);

	if (r == 0)
		r = remote_ring_make(&s->injector, WINDOW, WINDOW * IOVEC_ROOM, &data_fd, 1,
				     &s->ring, err);
	if (r < 0)
		(void)injector_detach(&s->injector);
	return r;
}

/* where the rest of the flight's chunk goes; pieces, at most IOVECS_A_CHUNK */
static unsigned int list_pieces(const struct page_map *map, const struct flight *flight,
				struct iovec *pieces)
{
	const struct page_chunk *chunk = &map->chunks[flight->chunk];
	uint64_t skip = flight->done;
	unsigned int n = 0;

	for (uint32_t i = 0; i < chunk->n_extents; i++) {
		const struct page_extent *extent = &map->extents[chunk->first_extent + i];
		uint64_t size = (uint64_t)extent->n_pages * PAGE_BYTES;

		if (skip >= size) {
			skip -= size;
			continue;
		}
		pieces[n++] =
			(struct iovec){(void *)(uintptr_t)(extent->address + skip), size - skip};
		skip = 0;
	}
	return n;
}

static int write_pieces(pid_t pid, uint64_t at, const struct iovec *pieces, unsigned int n)
{
	struct iovec local = {(void *)(uintptr_t)pieces, n * sizeof(*pieces)};
	struct iovec remote = {(void *)(uintptr_t)at, local.iov_len};
	ssize_t put = process_vm_writev(pid, &local, 1, &remote, 1, 0);

	if (put < 0)
		return -errno;
	return (size_t)put == local.iov_len ? 0 : -EFAULT;
}

static int begin_read(struct space_ring *s, const struct page_map *map, unsigned int slot,
		      struct snap_error *err)
{
	struct flight *flight = &s->flights[slot];
	const struct page_chunk *chunk = &map->chunks[flight->chunk];
	uint64_t at = remote_ring_scratch(&s->ring) + slot * IOVEC_ROOM;
	struct iovec pieces[IOVECS_A_CHUNK];
	unsigned int n = list_pieces(map, flight, pieces);
	struct io_uring_sqe *sqe;

	if (n > 1) {
		int r = write_pieces(s->pid, at, pieces, n);

		if (r < 0)
			return snap_fail(err, SNAP_E_RESTORE, -r, "cannot write memory of pid %d",
					 (int)s->pid);
	}
	sqe = remote_ring_next(&s->ring);
	sqe->opcode = n > 1 ? IORING_OP_READV : IORING_OP_READ;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->fd = 0;
	sqe->off = chunk->offset + flight->done;
	sqe->addr = n > 1 ? at : (uint64_t)(uintptr_t)pieces[0].iov_base;
	sqe->len = n > 1 ? n : (uint32_t)pieces[0].iov_len;
	sqe->rw_flags = RWF_NOWAIT;
	sqe->user_data = slot;
	flight->busy = true;
	s->in_flight++;
	return 0;
}

/* what cannot be read is left to the other filler */
static int end_read(struct ring_fill *rf, struct space_ring *s, unsigned int slot, int result,
		    struct snap_error *err)
{
	const struct page_map *map = rf->fill->map;
	struct flight *flight = &s->flights[slot];
	bool would_block = result == -EINTR || result == -EAGAIN;

	flight->busy = false;
	s->in_flight--;
	s->last_ns = clock_now_ns();
	if (result > 0)
		flight->done += (uint32_t)result;
	if (flight->done == map->chunks[flight->chunk].bytes) {
		rf->fill->result->ring_bytes += flight->done;
		readback_push(&rf->readback, flight->chunk);
		return 0;
	}
	if (result > 0 || (would_block && ++flight->tries < TRIES_MAX))
		return begin_read(s, map, slot, err);
	if (!would_block) {
		struct snap_error refusal;

		(void)snap_fail(&refusal, SNAP_E_RESTORE, -result,
				"a ring cannot read " PAGES_DATA_NAME);
		note_why(rf->fill, &refusal);
		s->refused = true;
	}
	return 0;
}

/* the next chunk for a ring at or behind *next; false: no more */
static bool find_chunk(const struct page_map *map, uint32_t *next, uint32_t end)
{
	while (*next < end && !is_for_ring(&map->chunks[*next]))
		(*next)++;
	return *next < end;
}

static int begin_reads(struct space_ring *s, const struct page_map *map, uint32_t *next,
		       uint32_t end, struct snap_error *err)
{
	int r = 0;

	for (unsigned int slot = 0; r == 0 && slot < WINDOW; slot++) {
		if (s->flights[slot].busy)
			continue;
		if (s->refused || !find_chunk(map, next, end))
			break;
		s->flights[slot] = (struct flight){.chunk = (*next)++};
		r = begin_read(s, map, slot, err);
	}
	return r;
}

static int read_space(struct ring_fill *rf, struct space_ring *s, const struct page_space *space,
		      struct snap_error *err)
{
	const struct page_map *map = rf->fill->map;
	uint32_t next = space->first_chunk, end = next + space->n_chunks;
	int r = 0;

	s->last_ns = clock_now_ns();
	while (r == 0) {
		uint64_t slot;
		int result;

		if (!atomic_load(&rf->readback.failed))
			r = begin_reads(s, map, &next, end, err);
		if (r < 0 || s->in_flight == 0)
			break;
		r = remote_ring_enter(&s->ring, (s->in_flight + 3) / 4, ENTER_MS, err);
		while (r == 0 && remote_ring_take(&s->ring, &slot, &result))
			r = end_read(rf, s, (unsigned int)slot, result, err);
		if (r == 0)
			r = steps_fault("ring-half", err);
		if (r == 0 && clock_now_ns() - s->last_ns > STALL_MS * NS_PER_MS)
			r = snap_fail_plain(err, SNAP_E_RESTORE, ETIMEDOUT,
					    "reads of the ring in pid %d do not end", (int)s->pid);
	}
	return r;
}

static int end_ring(struct space_ring *s, struct snap_error *err)
{
	int r = remote_ring_settle(&s->ring, deadline_after_ms(SETTLE_MS), err), d;

	d = injector_detach(&s->injector);
	if (r == 0 && d < 0)
		r = snap_fail(err, SNAP_E_RESTORE, -d, "cannot let pid %d go", (int)s->pid);
	return r;
}

static int fill_space(struct ring_fill *rf, const struct page_space *space, struct snap_error *err)
{
	struct space_ring *s = &rf->rings[rf->n_rings];
	struct snap_error broken = {0};
	int r, c;

	*s = (struct space_ring){.pid = space->pid};
	r = open_ring(s, rf->fill->data_fd, &broken);
	if (r < 0) {
		note_why(rf->fill, &broken);
		return 0;
	}
	r = read_space(rf, s, space, &broken);
	c = remote_ring_close(&s->ring, err);
	if (r == 0 && c == 0) {
		rf->n_rings++;
		return 0;
	}
	/* nothing else may touch this memory before its reads have ended */
	if (r < 0)
		note_why(rf->fill, &broken);
	r = end_ring(s, c == 0 ? err : NULL);
	return c < 0 ? c : r;
}

static int fill_spaces(struct ring_fill *rf, struct snap_error *err)
{
	const struct page_map *map = rf->fill->map;
	bool tried = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < map->n_spaces && rf->n_rings < RINGS_MAX; i++) {
		if (count_for_ring(map, &map->spaces[i]) < RING_MIN_BYTES)
			continue;
		tried = true;
		r = fill_space(rf, &map->spaces[i], err);
	}
	if (!tried)
		(void)snprintf(rf->fill->result->why, FILL_WHY_MAX,
			       "no process has %u MiB or more that a ring can read",
			       RING_MIN_BYTES >> 20);
	return r;
}

int fill_run_ring(struct fill *fill, struct snap_error *err)
{
	struct ring_fill rf = {.fill = fill};
	int r, s;

	fill->filled = calloc(fill->map->n_chunks + 1, 1);
	rf.rings = calloc(RINGS_MAX, sizeof(*rf.rings));
	if (!fill->filled || !rf.rings || readback_start(&rf.readback, fill) < 0) {
		free(rf.rings);
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	}
	r = fill_spaces(&rf, err);
	s = readback_finish(&rf.readback, r == 0 ? err : NULL);
	r = r == 0 ? s : r;
	if (fill->result->ring_bytes > 0)
		fill->result->filler = "ring";
	if (r == 0)
		r = fill_run_writev(fill, err);
	for (size_t i = 0; i < rf.n_rings; i++) {
		s = end_ring(&rf.rings[i], r == 0 ? err : NULL);
		r = r == 0 ? s : r;
	}
	free(rf.rings);
	return r;
}
