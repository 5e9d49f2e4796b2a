/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/fill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/pages/advice.h"
#include "snapshot/pages/chunk.h"
#include "snapshot/pages/fill_internal.h"

#define RESIDENCY_SAMPLES 32U
#define CHUNKS_A_THREAD	  4U /* fewer are not worth a thread */
#define SMALL_BYTES	  (8U << 20)

void fill_sum_begin(const struct fill *fill, struct fill_sum *sum)
{
	sum->on = fill->options->verify == FILL_VERIFY_FULL;
	if (sum->on)
		(void)XXH3_128bits_reset(sum->state);
}

void fill_sum_add(struct fill_sum *sum, const unsigned char *bytes, size_t size)
{
	if (sum->on)
		(void)XXH3_128bits_update(sum->state, bytes, size);
}

bool fill_sum_agrees(const struct fill_sum *sum, const struct page_chunk *chunk)
{
	return !sum->on || chunk_has_sum(chunk, XXH3_128bits_digest(sum->state));
}

static uint64_t sample_offset(uint64_t size, unsigned int i)
{
	return size / RESIDENCY_SAMPLES * i / PAGE_BYTES * PAGE_BYTES;
}

/* where a file system has no reads that do not block: tmpfs, overlay */
static unsigned int count_resident_mapped(int fd, uint64_t size)
{
	unsigned char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	unsigned int hits = 0;

	if (map == MAP_FAILED)
		return 0;
	for (unsigned int i = 0; i < RESIDENCY_SAMPLES; i++) {
		unsigned char resident = 0;

		(void)mincore(map + sample_offset(size, i), 1, &resident);
		hits += resident & 1;
	}
	(void)munmap(map, size);
	return hits;
}

/* is the file in the page cache? Asked of a few pages, without making them come */
static bool is_resident(int fd, uint64_t size)
{
	unsigned int hits = 0;

	for (unsigned int i = 0; i < RESIDENCY_SAMPLES; i++) {
		char byte;
		struct iovec iov = {&byte, 1};
		ssize_t n = preadv2(fd, &iov, 1, (off_t)sample_offset(size, i), RWF_NOWAIT);

		if (n < 0 && errno == EOPNOTSUPP) {
			hits = count_resident_mapped(fd, size);
			break;
		}
		hits += n == 1;
	}
	return hits >= RESIDENCY_SAMPLES / 2;
}

static int open_data(struct fill *fill, int gen_fd, struct snap_error *err)
{
	const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW;
	const char *name = page_files_data_name(fill->map->files);
	enum fill_direct direct = fill->options->direct;
	int direct_fd;

	fill->data_fd = openat(gen_fd, name, flags);
	if (fill->data_fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open %s", name);
	if (direct == FILL_DIRECT_OFF ||
	    (direct == FILL_DIRECT_AUTO && is_resident(fill->data_fd, fill->map->data_bytes)))
		return 0;
	direct_fd = openat(gen_fd, name, flags | O_DIRECT);
	if (direct_fd < 0 && direct == FILL_DIRECT_AUTO)
		return 0;
	if (direct_fd < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno,
				 "O_DIRECT does not work on the store; use --direct auto");
	(void)fd_close(fill->data_fd);
	fill->data_fd = direct_fd;
	fill->result->direct = true;
	return 0;
}

/* io_uring where it is allowed, and where there is enough to read for its set-up to pay */
static int choose_reader(struct fill *fill, struct snap_error *err)
{
	struct page_reader probe = {.type = &page_reader_uring};
	enum fill_reader wanted = fill->options->reader;
	int r = -ENOSYS;

	fill->reader = &page_reader_pread;
	if (wanted == FILL_READER_URING ||
	    (wanted == FILL_READER_AUTO && fill->result->bytes >= SMALL_BYTES))
		r = page_reader_uring.open(&probe);
	if (r == 0) {
		page_reader_uring.close(&probe);
		fill->reader = &page_reader_uring;
	} else if (fill->options->reader == FILL_READER_URING) {
		return snap_fail(err, SNAP_E_PREFLIGHT, -r,
				 "io_uring is not allowed here; use --reader auto");
	}
	fill->result->reader = fill->reader->name;
	return 0;
}

static unsigned int count_threads(const struct fill *fill)
{
	long cpus = fill->options->threads ? (long)fill->options->threads
					   : sysconf(_SC_NPROCESSORS_ONLN);
	size_t useful = fill->map->n_chunks / CHUNKS_A_THREAD + 1;

	if (cpus > (long)FILL_THREADS_MAX)
		cpus = FILL_THREADS_MAX;
	if (cpus < 1)
		cpus = 1;
	return useful < (size_t)cpus ? (unsigned int)useful : (unsigned int)cpus;
}

static uint64_t count_bytes(const struct page_map *map)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < map->n_chunks; i++)
		bytes += map->chunks[i].bytes;
	return bytes;
}

/* data_fd is open */
static int fill_all(struct fill *fill, struct snap_error *err)
{
	const struct fill_options *options = fill->options;
	bool is_host = fill->map->files == PAGE_FILES_TREE;
	uint64_t start = clock_now_ns();
	int r = choose_reader(fill, err);

	if (r == 0 && is_host && options->thp == FILL_THP_AUTO)
		r = pages_advise_huge(fill->map, &fill->result->huge_bytes, err);
	fill->result->advise_ns = clock_now_ns() - start;
	if (r == 0) {
		start = clock_now_ns();
		fill->n_threads = count_threads(fill);
		/* auto is writev: a ring has not been measured faster (docs/adr/0006) */
		r = is_host && options->filler == FILL_FILLER_RING ? fill_run_ring(fill, err)
								   : fill_run_writev(fill, err);
		fill->result->fill_ns = clock_now_ns() - start;
	}
	free(fill->filled);
	fill->filled = NULL;
	return r;
}

int pages_fill(const struct page_map *map, int gen_fd, const struct fill_options *options,
	       struct fill_result *ret, struct snap_error *err)
{
	struct fill fill = {.map = map, .options = options, .data_fd = FD_NONE, .result = ret};
	int r;

	*ret = (struct fill_result){.filler = "writev", .bytes = count_bytes(map)};
	r = open_data(&fill, gen_fd, err);
	if (r == 0)
		r = fill_all(&fill, err);
	fill.data_fd = fd_close(fill.data_fd);
	return r;
}

int pages_fill_from(const struct page_map *map, int data_fd, const struct fill_options *options,
		    struct fill_result *ret, struct snap_error *err)
{
	struct fill fill = {.map = map, .options = options, .data_fd = data_fd, .result = ret};

	*ret = (struct fill_result){.filler = "writev", .bytes = count_bytes(map)};
	return fill_all(&fill, err);
}
