/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * read_floor FILE BYTES --direct|--buffered [DEPTH]
 *
 * The physical floor of a refill: reads the first BYTES of FILE into memory that is there already,
 * on huge pages where the kernel has them, and times nothing but the reads. One ring, DEPTH reads
 * (32) of 1 MiB in flight. Prints {"bytes", "read_ns", "huge_bytes", "direct", "depth"}.
 */

#define PIECE_BYTES (1UL << 20)
#define HUGE_BYTES  (2UL << 20)
#define ALIGN_BYTES 4096UL
#define BYTES_MAX   (256UL << 30)
#define DEPTH_MAX   1024

struct plan {
	const char *path;
	uint64_t bytes; /* a multiple of ALIGN_BYTES */
	bool direct;
	unsigned int depth;
};

static void __attribute__((format(printf, 2, 3), noreturn)) die(int error, const char *format, ...)
{
	va_list ap;

	(void)fprintf(stderr, "read_floor: ");
	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	(void)fprintf(stderr, "%s%s\n", error ? ": " : "", error ? strerror(error) : "");
	exit(error ? 1 : 2);
}

static uint64_t number(const char *text, uint64_t max)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *text < '0' || *text > '9' || *end || value < 1 || value > max)
		die(0, "'%s' is no number from 1 to %llu", text, (unsigned long long)max);
	return value;
}

static void parse(int argc, char **argv, struct plan *ret)
{
	if (argc < 4 || argc > 5)
		die(0, "usage: read_floor FILE BYTES --direct|--buffered [DEPTH]");
	ret->path = argv[1];
	ret->bytes = number(argv[2], BYTES_MAX) + ALIGN_BYTES - 1;
	ret->bytes -= ret->bytes % ALIGN_BYTES;
	ret->direct = strcmp(argv[3], "--direct") == 0;
	if (!ret->direct && strcmp(argv[3], "--buffered") != 0)
		die(0, "'%s' is neither --direct nor --buffered", argv[3]);
	ret->depth = argc > 4 ? (unsigned int)number(argv[4], DEPTH_MAX) : 32;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static int open_source(const struct plan *plan)
{
	int fd = open(plan->path, O_RDONLY | O_CLOEXEC | (plan->direct ? O_DIRECT : 0));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		die(errno, "%s", plan->path);
	if ((uint64_t)st.st_size < plan->bytes)
		die(0, "%s is shorter than %llu bytes", plan->path,
		    (unsigned long long)plan->bytes);
	return fd;
}

/* every page touched, so that the reads find them all in place */
static uint8_t *populated(uint64_t bytes)
{
	uint8_t *base = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *data;

	if (base == MAP_FAILED)
		die(errno, "mmap of %llu bytes", (unsigned long long)bytes);
	data = base + (HUGE_BYTES - (uintptr_t)base % HUGE_BYTES) % HUGE_BYTES;
	/* a kernel without huge pages refuses; the report then says how many there are: none */
	(void)madvise(data, bytes, MADV_HUGEPAGE);
	memset(data, 1, bytes);
	return data;
}

static uint64_t huge_bytes(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	unsigned long long kib = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "AnonHugePages: %llu kB", &kib) == 1)
			break;
	}
	if (file)
		(void)fclose(file);
	return kib * 1024;
}

/* one more read at *at; its length travels as the request's data */
static void submit_one(struct io_uring *ring, const struct plan *plan, uint8_t *data, uint64_t *at)
{
	uint64_t left = plan->bytes - *at;
	unsigned int size = (unsigned int)(left < PIECE_BYTES ? left : PIECE_BYTES);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		die(EBUSY, "the ring is full");
	io_uring_prep_read(sqe, 0, data + *at, size, *at);
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data64(sqe, size);
	*at += size;
}

static uint64_t read_all(struct io_uring *ring, const struct plan *plan, uint8_t *data)
{
	uint64_t began = now_ns(), at = 0, done = 0;
	unsigned int in_flight = 0;
	struct io_uring_cqe *cqe;
	int r;

	while (done < plan->bytes) {
		for (; in_flight < plan->depth && at < plan->bytes; in_flight++)
			submit_one(ring, plan, data, &at);
		r = io_uring_submit_and_wait(ring, 1);
		if (r < 0)
			die(-r, "io_uring_submit_and_wait");
		while (io_uring_peek_cqe(ring, &cqe) == 0) {
			if (cqe->res < 0)
				die(-cqe->res, "%s", plan->path);
			if ((uint64_t)cqe->res != cqe->user_data)
				die(EIO, "%s: a short read", plan->path);
			done += (uint64_t)cqe->res;
			in_flight--;
			io_uring_cqe_seen(ring, cqe);
		}
	}
	return now_ns() - began;
}

int main(int argc, char **argv)
{
	struct io_uring ring;
	uint64_t read_ns;
	struct plan plan;
	uint8_t *data;
	int fd, r;

	parse(argc, argv, &plan);
	fd = open_source(&plan);
	data = populated(plan.bytes);
	r = io_uring_queue_init(plan.depth, &ring, 0);
	if (r < 0)
		die(-r, "io_uring_queue_init");
	r = io_uring_register_files(&ring, &fd, 1);
	if (r < 0)
		die(-r, "io_uring_register_files");
	read_ns = read_all(&ring, &plan, data);
	(void)printf("{\"bytes\": %llu, \"read_ns\": %llu, \"huge_bytes\": %llu, \"direct\": %s, "
		     "\"depth\": %u}\n",
		     (unsigned long long)plan.bytes, (unsigned long long)read_ns,
		     (unsigned long long)huge_bytes(), plan.direct ? "true" : "false", plan.depth);
	io_uring_queue_exit(&ring);
	return 0;
}
