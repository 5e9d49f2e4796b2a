/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/pages/object.h"
#include "snapshot/pages/placement.h"
#include "snapshot/pages/twins.h"
#include "snapshot/pages/units.h"
#include "snapshot/steps.h"

/* what one unit has become; extents lie in its thread's list until all are done */
struct written {
	struct page_chunk chunk;
	unsigned int thread;
	size_t first_extent;
};

struct writer;

struct writer_thread {
	struct writer *writer;
	unsigned int index;
	pthread_t handle;
	bool runs;
	unsigned char *buf;    /* the chunk as it is in memory */
	unsigned char *packed; /* compressed, or read back */
	struct page_map found; /* extents only */
	int source_fd;	       /* of source_space: /proc/PID/mem, or the object */
	uint32_t source_space;
	struct snap_error err;
	int result;
};

struct writer {
	struct pages_plan *plan;
	const struct pages_write_options *options;
	struct pages_units units;
	struct written *written;
	atomic_size_t next;
	atomic_bool failed;
	int data_fd;
	pthread_mutex_t lock; /* of what follows */
	struct placement placement;
	struct twins twins;
	struct pages_write_result result;
	struct writer_thread threads[PAGES_THREADS_MAX];
};

static const char *data_name(const struct writer *w)
{
	return page_files_data_name(w->plan->map.files);
}

static int open_source(struct writer_thread *t, const struct pages_unit *unit)
{
	if (t->source_fd >= 0 && t->source_space == unit->space)
		return 0;
	(void)fd_close(t->source_fd);
	t->source_space = unit->space;
	t->source_fd = pages_space_open(&t->writer->plan->map.spaces[unit->space], O_RDONLY);
	return t->source_fd < 0 ? t->source_fd : 0;
}

/* an object's last page may be cut short by its size: zeros behind it */
static int read_piece(int fd, unsigned char *to, const struct pages_piece *piece)
{
	ssize_t n = io_pread_full(fd, to, piece->bytes, piece->address);

	if (n < 0)
		return (int)n;
	memset(to + n, 0, piece->bytes - (size_t)n);
	return 0;
}

static int read_by_fd(struct writer_thread *t, const struct pages_unit *unit)
{
	const struct pages_piece *pieces = &t->writer->units.pieces[unit->first_piece];
	unsigned char *to = t->buf;
	int r = open_source(t, unit);

	for (uint32_t i = 0; r == 0 && i < unit->n_pieces; i++) {
		r = read_piece(t->source_fd, to, &pieces[i]);
		to += pieces[i].bytes;
	}
	return r;
}

static int read_task(struct writer_thread *t, const struct pages_unit *unit, pid_t pid)
{
	const struct pages_piece *pieces = &t->writer->units.pieces[unit->first_piece];
	struct iovec local = {t->buf, unit->bytes}, remote[PAGES_UNIT_PIECES_MAX];
	ssize_t n;

	for (uint32_t i = 0; i < unit->n_pieces; i++)
		remote[i] = (struct iovec){(void *)(uintptr_t)pieces[i].address, pieces[i].bytes};
	n = process_vm_readv(pid, &local, 1, remote, unit->n_pieces, 0);
	if (n == (ssize_t)unit->bytes)
		return 0;
	if (n < 0 && errno != EFAULT)
		return -errno;
	return read_by_fd(t, unit); /* a page of it is not for process_vm_readv */
}

/* as an object: its last page may be cut short */
static int read_device(struct writer_thread *t, const struct pages_unit *unit,
		       const struct page_space *space)
{
	const struct pages_piece *pieces = &t->writer->units.pieces[unit->first_piece];
	const struct page_device *device = t->writer->options->device;
	unsigned char *to = t->buf;
	int r = device ? 0 : -ENODEV;

	for (uint32_t i = 0; r == 0 && i < unit->n_pieces; i++) {
		uint64_t left = space->object_bytes - pieces[i].address;
		size_t bytes = left < pieces[i].bytes ? (size_t)left : pieces[i].bytes;

		r = device->read(device->arg, space, pieces[i].address, to, bytes);
		memset(to + bytes, 0, pieces[i].bytes - bytes);
		to += pieces[i].bytes;
	}
	return r;
}

static int read_unit(struct writer_thread *t, const struct pages_unit *unit)
{
	const struct page_space *space = &t->writer->plan->map.spaces[unit->space];

	if (space->kind == PAGE_SPACE_DEVICE)
		return read_device(t, unit, space);
	if (space->kind == PAGE_SPACE_TASK && !(unit->flags & PAGES_RUN_UNREADABLE))
		return read_task(t, unit, space->pid);
	return read_by_fd(t, unit);
}

static bool is_zero(const unsigned char *page)
{
	static const unsigned char zeros[PAGE_BYTES];

	return page[0] == 0 && memcmp(page, zeros, PAGE_BYTES) == 0;
}

static int note_page(struct writer_thread *t, size_t first, uint64_t address)
{
	struct page_extent extent = {.address = address, .n_pages = 1};
	struct page_extent *last = NULL;

	if (t->found.n_extents > first)
		last = &t->found.extents[t->found.n_extents - 1];
	if (last && last->address + (uint64_t)last->n_pages * PAGE_BYTES == address) {
		last->n_pages++;
		return 0;
	}
	return page_map_add_extent(&t->found, &extent);
}

struct tally {
	uint64_t stored;
	uint64_t zero;
};

static void account(struct writer *w, uint32_t region, struct tally tally)
{
	(void)pthread_mutex_lock(&w->lock);
	w->plan->map.regions[region].stored_bytes += tally.stored;
	w->plan->map.regions[region].zero_bytes += tally.zero;
	w->result.stored_bytes += tally.stored;
	w->result.zero_bytes += tally.zero;
	(void)pthread_mutex_unlock(&w->lock);
}

/* close the gaps that zero pages leave in the buffer; bytes that remain, or -errno */
static ssize_t leave_zeros_out(struct writer_thread *t, const struct pages_unit *unit)
{
	const struct pages_piece *pieces = &t->writer->units.pieces[unit->first_piece];
	bool keep = unit->flags & PAGES_RUN_KEEP_ZEROS;
	const unsigned char *from = t->buf;
	size_t first = t->found.n_extents;
	unsigned char *to = t->buf;

	for (uint32_t i = 0; i < unit->n_pieces; i++) {
		struct tally tally = {0};

		for (uint32_t at = 0; at < pieces[i].bytes; at += PAGE_BYTES, from += PAGE_BYTES) {
			if (!keep && is_zero(from)) {
				tally.zero += PAGE_BYTES;
				continue;
			}
			if (note_page(t, first, pieces[i].address + at) < 0)
				return -ENOMEM;
			if (to != from)
				memcpy(to, from, PAGE_BYTES);
			to += PAGE_BYTES;
			tally.stored += PAGE_BYTES;
		}
		account(t->writer, pieces[i].region, tally);
	}
	return to - t->buf;
}

/* what is written: the buffer, or its compressed form where that gains enough */
static const unsigned char *pack(struct writer_thread *t, struct page_chunk *chunk)
{
	static const enum page_codec codecs[] = {PAGE_CODEC_LZ4, PAGE_CODEC_NONE, PAGE_CODEC_LZ4,
						 PAGE_CODEC_ZSTD};
	enum codec_choice choice = t->writer->options->compress;
	size_t room = choice == CODEC_CHOICE_AUTO ? chunk->bytes / 100 * (100 - CODEC_GAIN_PERCENT)
						  : chunk->bytes - PAGE_BYTES;
	size_t n = 0;

	if (codecs[choice] != PAGE_CODEC_NONE)
		n = codec_compress(codecs[choice], t->packed, room, t->buf, chunk->bytes);
	chunk->stored_bytes = n ? (uint32_t)n : chunk->bytes;
	if (!n)
		return t->buf;
	chunk->codec = (uint16_t)codecs[choice];
	/* whole pages are written: no byte of ours in between */
	memset(t->packed + n, 0, (PAGE_BYTES - n % PAGE_BYTES) % PAGE_BYTES);
	return t->packed;
}

/* 1: chunk->offset is that of an equal chunk, which was compared byte by byte */
static int find_twin(struct writer_thread *t, struct page_chunk *chunk, const unsigned char *data)
{
	struct writer *w = t->writer;
	unsigned char *back = data == t->buf ? t->packed : t->buf;
	struct page_chunk twin;
	bool found;
	ssize_t n;

	(void)pthread_mutex_lock(&w->lock);
	found = twins_find(&w->twins, chunk, &twin);
	(void)pthread_mutex_unlock(&w->lock);
	if (!found)
		return 0;
	n = pread(w->data_fd, back, page_round_up(chunk->stored_bytes), (off_t)twin.offset);
	if (n < (ssize_t)chunk->stored_bytes || memcmp(back, data, chunk->stored_bytes) != 0)
		return 0;
	chunk->offset = twin.offset;
	return 1;
}

static int store_chunk(struct writer_thread *t, struct page_chunk *chunk)
{
	struct writer *w = t->writer;
	const unsigned char *data = pack(t, chunk);
	size_t size = page_round_up(chunk->stored_bytes);
	int r;

	if (find_twin(t, chunk, data)) {
		(void)pthread_mutex_lock(&w->lock);
		w->result.shared_bytes += chunk->bytes;
		(void)pthread_mutex_unlock(&w->lock);
		return 0;
	}
	(void)pthread_mutex_lock(&w->lock);
	chunk->offset = placement_take(&w->placement, size);
	w->result.written_bytes += size;
	(void)pthread_mutex_unlock(&w->lock);
	r = io_pwrite_full(w->data_fd, data, size, chunk->offset);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&w->lock);
	r = twins_add(&w->twins, chunk);
	(void)pthread_mutex_unlock(&w->lock);
	return r;
}

static uint16_t chunk_flags(const struct writer *w, const struct pages_unit *unit, size_t bytes)
{
	uint16_t flags = 0;

	if (unit->flags & PAGES_RUN_READ_ONLY)
		flags |= PAGE_CHUNK_READ_ONLY;
	if (unit->flags & PAGES_RUN_NO_HUGE)
		flags |= PAGE_CHUNK_NO_HUGE;
	/* only a whole aligned huge page makes a unit of that size in one piece */
	if (bytes == PAGES_DENSE_ALIGN && unit->n_pieces == 1 &&
	    w->plan->map.spaces[unit->space].kind == PAGE_SPACE_TASK)
		flags |= PAGE_CHUNK_DENSE;
	return flags;
}

static int write_unit(struct writer_thread *t, size_t i)
{
	struct writer *w = t->writer;
	const struct pages_unit *unit = &w->units.units[i];
	struct written *out = &w->written[i];
	ssize_t bytes;
	XXH128_hash_t sum;
	int r = read_unit(t, unit);

	if (r < 0)
		return snap_fail(&t->err, SNAP_E_DUMP, -r, "cannot read %smemory of pid %d",
				 w->options->device ? "device " : "",
				 (int)w->plan->map.spaces[unit->space].pid);
	*out = (struct written){.thread = t->index, .first_extent = t->found.n_extents};
	bytes = leave_zeros_out(t, unit);
	if (bytes < 0)
		return snap_fail(&t->err, SNAP_E_INTERNAL, ENOMEM, "too many extents");
	if (bytes == 0)
		return 0;
	sum = XXH3_128bits(t->buf, (size_t)bytes);
	out->chunk = (struct page_chunk){
		.checksum_low = sum.low64,
		.checksum_high = sum.high64,
		.bytes = (uint32_t)bytes,
		.space = unit->space,
		.n_extents = (uint32_t)(t->found.n_extents - out->first_extent),
		.flags = chunk_flags(w, unit, (size_t)bytes),
	};
	r = store_chunk(t, &out->chunk);
	return r < 0 ? io_fail_write(&t->err, SNAP_E_DUMP, -r, data_name(w)) : 0;
}

static void *run_thread(void *arg)
{
	struct writer_thread *t = arg;
	struct writer *w = t->writer;

	while (t->result == 0 && !atomic_load(&w->failed)) {
		size_t i = atomic_fetch_add(&w->next, 1);

		if (i >= w->units.n)
			break;
		if (i == w->units.n / 2)
			t->result = steps_fault(w->options->device ? "device-half" : "pages-half",
						&t->err);
		if (steps_stopped() && !w->options->device)
			t->result = snap_fail_plain(&t->err, SNAP_E_STOPPED, ECANCELED,
						    "asked to stop");
		if (t->result == 0)
			t->result = write_unit(t, i);
	}
	if (t->result < 0)
		atomic_store(&w->failed, true);
	return NULL;
}

static unsigned char *make_buffer(void)
{
	void *p = mmap(NULL, PAGES_CHUNK_MAX, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int run_threads(struct writer *w, unsigned int n, struct snap_error *err)
{
	int r = 0;

	for (unsigned int i = 0; i < n; i++) {
		struct writer_thread *t = &w->threads[i];

		*t = (struct writer_thread){
			.writer = w, .index = i, .source_fd = FD_NONE, .buf = make_buffer()};
		t->packed = t->buf ? make_buffer() : NULL;
		/* the first is this thread */
		if (i > 0 && t->packed && pthread_create(&t->handle, NULL, run_thread, t) == 0)
			t->runs = true;
	}
	if (w->threads[0].packed)
		(void)run_thread(&w->threads[0]);
	else
		r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory for buffers");
	for (unsigned int i = 0; i < n; i++) {
		struct writer_thread *t = &w->threads[i];

		if (t->runs)
			(void)pthread_join(t->handle, NULL);
		if (t->result < 0 && r == 0) {
			r = t->result;
			if (err)
				*err = t->err;
		}
		t->source_fd = fd_close(t->source_fd);
		if (t->buf)
			(void)munmap(t->buf, PAGES_CHUNK_MAX);
		if (t->packed)
			(void)munmap(t->packed, PAGES_CHUNK_MAX);
	}
	return r;
}

/* units are in order of spaces and addresses, whatever the order of writing was */
static int collect_chunks(struct writer *w, struct snap_error *err)
{
	struct page_map *map = &w->plan->map;
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->units.n; i++) {
		struct written *out = &w->written[i];
		const struct page_extent *extents =
			w->threads[out->thread].found.extents + out->first_extent;
		struct page_space *space = &map->spaces[w->units.units[i].space];

		if (out->chunk.bytes == 0)
			continue;
		if (space->n_chunks++ == 0)
			space->first_chunk = (uint32_t)map->n_chunks;
		out->chunk.first_extent = (uint32_t)map->n_extents;
		for (uint32_t k = 0; r == 0 && k < out->chunk.n_extents; k++)
			r = page_map_add_extent(map, &extents[k]);
		if (r == 0)
			r = page_map_add_chunk(map, &out->chunk);
	}
	for (size_t i = 0, next = 0; i < map->n_spaces; i++) {
		if (map->spaces[i].n_chunks == 0)
			map->spaces[i].first_chunk = (uint32_t)next;
		next = map->spaces[i].first_chunk + map->spaces[i].n_chunks;
	}
	map->data_bytes = w->placement.end;
	return r < 0 ? snap_fail(err, SNAP_E_DUMP, -r, "too much memory for one snapshot") : 0;
}

static int open_data(struct writer *w, int gen_fd, struct snap_error *err)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
	const int made = w->options->is_reserved ? 0 : O_CREAT | O_EXCL;

	/* the engine stands still for a copy into the page cache, not for a disk */
	w->data_fd = openat(gen_fd, data_name(w), flags | made, 0600);
	if (w->data_fd < 0)
		return io_fail_write(err, SNAP_E_DUMP, errno, data_name(w));
	return 0;
}

int pages_reserve(int gen_fd, enum page_files files, uint64_t bytes, struct snap_error *err)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW;
	const char *name = page_files_data_name(files);
	snap_cleanup_close int fd = openat(gen_fd, name, flags, 0600);

	if (fd < 0)
		return io_fail_write(err, SNAP_E_DUMP, errno, name);
	if (bytes == 0 || fallocate(fd, 0, 0, (off_t)bytes) == 0 || errno == EOPNOTSUPP)
		return 0;
	return io_fail_write(err, SNAP_E_DUMP, errno, name);
}

static unsigned int count_threads(const struct pages_write_options *options)
{
	long n = options->threads ? (long)options->threads : sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > (long)PAGES_THREADS_MAX ? PAGES_THREADS_MAX : (unsigned int)n;
}

int pages_write(struct pages_plan *plan, int gen_fd, const struct pages_write_options *options,
		struct pages_write_result *ret, struct snap_error *err)
{
	struct writer w = {.plan = plan,
			   .options = options,
			   .data_fd = FD_NONE,
			   .lock = PTHREAD_MUTEX_INITIALIZER};
	int r = open_data(&w, gen_fd, err);

	if (r == 0 && pages_units_make(plan, &w.units) < 0)
		r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	if (r == 0) {
		w.written = calloc(w.units.n + 1, sizeof(*w.written));
		if (!w.written || twins_init(&w.twins, w.units.n) < 0)
			r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	}
	if (r == 0)
		r = run_threads(&w, count_threads(options), err);
	if (r == 0)
		r = collect_chunks(&w, err);
	if (r == 0 && ftruncate(w.data_fd, (off_t)w.placement.end) < 0)
		r = io_fail_write(err, SNAP_E_DUMP, errno, data_name(&w));
	for (unsigned int i = 0; i < PAGES_THREADS_MAX; i++)
		page_map_done(&w.threads[i].found);
	*ret = w.result;
	w.data_fd = fd_close(w.data_fd);
	twins_done(&w.twins);
	pages_units_done(&w.units);
	free(w.written);
	return r;
}
