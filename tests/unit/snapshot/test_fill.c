/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <lz4.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/fd.h"
#include "snapshot/pages/fill.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"
#include "tests/unit/task/traces.h"
#include "tests/unit/task/victim.h"

#define MIB	    (1UL << 20)
#define ARENA_BYTES (24 * MIB)
#define SHM_BYTES   (2 * MIB)
#define N_THREADS   4
#define SEED_TASK   1U
#define SEED_SHM    2U

/* at the same addresses in every victim, with nothing in it here */
static struct {
	unsigned char *arena;
	int shm_fd;
} place;

/* a part of the arena, one chunk */
struct part {
	size_t at;
	size_t extent_bytes;
	size_t step; /* from extent to extent */
	unsigned int n;
	uint16_t codec;
	uint16_t flags;
	int prot;
};

static const struct part parts[] = {
	{0, 2 * MIB, 0, 1, PAGE_CODEC_NONE, PAGE_CHUNK_DENSE, PROT_READ | PROT_WRITE},
	{2 * MIB, 2 * MIB, 0, 1, PAGE_CODEC_NONE, PAGE_CHUNK_DENSE, PROT_READ | PROT_WRITE},
	{4 * MIB, 2 * MIB, 0, 1, PAGE_CODEC_NONE, PAGE_CHUNK_DENSE, PROT_READ | PROT_WRITE},
	{6 * MIB, 4096, 8192, 256, PAGE_CODEC_NONE, 0, PROT_READ | PROT_WRITE},
	{8 * MIB, 3 * 4096, 5 * 4096, 100, PAGE_CODEC_NONE, 0, PROT_READ | PROT_WRITE | PROT_EXEC},
	{12 * MIB, MIB, 0, 1, PAGE_CODEC_LZ4, 0, PROT_READ | PROT_WRITE},
	{14 * MIB, 64 << 10, 0, 1, PAGE_CODEC_NONE, PAGE_CHUNK_READ_ONLY, PROT_READ},
	/* cannot be read back by process_vm_readv */
	{16 * MIB, 512 << 10, 0, 1, PAGE_CODEC_NONE, 0, PROT_WRITE},
};

#define RING_BYTES_AT_MIN (6 * MIB)

static void make_bytes(unsigned char *to, size_t size, uint64_t at, uint64_t seed, bool packs)
{
	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = (at + i + seed) * 0x9E3779B97F4A7C15U;

		word = packs ? word >> 58 : word ^ word >> 29;
		memcpy(to + i, &word, 8);
	}
}

static size_t part_bytes(const struct part *part)
{
	return part->extent_bytes * part->n;
}

static unsigned char *part_content(const struct part *part)
{
	unsigned char *bytes = malloc(part_bytes(part));

	assert_non_null(bytes);
	for (unsigned int i = 0; i < part->n; i++)
		make_bytes(bytes + i * part->extent_bytes, part->extent_bytes,
			   part->at + i * part->step, SEED_TASK, part->codec != PAGE_CODEC_NONE);
	return bytes;
}

struct snapshot {
	struct sandbox box;
	struct page_map map;
};

static void put_chunk(struct snapshot *s, int data_fd, struct page_chunk *chunk,
		      const unsigned char *bytes)
{
	XXH128_hash_t sum = XXH3_128bits(bytes, chunk->bytes);
	char *packed = calloc(1, PAGES_CHUNK_MAX);
	const void *stored = bytes;
	size_t padded;

	assert_non_null(packed);
	chunk->checksum_low = sum.low64;
	chunk->checksum_high = sum.high64;
	chunk->stored_bytes = chunk->bytes;
	if (chunk->codec == PAGE_CODEC_LZ4) {
		int n = LZ4_compress_default((const char *)bytes, packed, (int)chunk->bytes,
					     (int)chunk->bytes);

		assert_true(n > 0);
		chunk->stored_bytes = (uint32_t)n;
		stored = packed;
	}
	/* each at a multiple of 2 MiB */
	chunk->offset = s->map.data_bytes;
	padded = page_round_up(chunk->stored_bytes);
	assert_int_equal(pwrite(data_fd, stored, padded, (off_t)chunk->offset), padded);
	s->map.data_bytes += 2 * MIB;
	assert_int_equal(page_map_add_chunk(&s->map, chunk), 0);
	free(packed);
}

static void make_task_space(struct snapshot *s, int data_fd, pid_t pid)
{
	struct page_space space = {
		.kind = PAGE_SPACE_TASK, .pid = pid, .fd = -1, .n_chunks = ARRAY_LEN(parts)};

	assert_int_equal(page_map_add_space(&s->map, &space), 0);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		const struct part *part = &parts[i];
		unsigned char *bytes = part_content(part);
		struct page_chunk chunk = {.bytes = (uint32_t)part_bytes(part),
					   .first_extent = (uint32_t)s->map.n_extents,
					   .n_extents = part->n,
					   .codec = part->codec,
					   .flags = part->flags};

		for (unsigned int e = 0; e < part->n; e++) {
			struct page_extent extent = {
				.address = (uint64_t)(uintptr_t)place.arena + part->at +
					   e * part->step,
				.n_pages = (uint32_t)(part->extent_bytes / PAGE_BYTES)};

			assert_int_equal(page_map_add_extent(&s->map, &extent), 0);
		}
		put_chunk(s, data_fd, &chunk, bytes);
		free(bytes);
	}
}

static void make_shared_space(struct snapshot *s, int data_fd, pid_t pid)
{
	struct page_space space = {.kind = PAGE_SPACE_SHARED,
				   .pid = pid,
				   .fd = place.shm_fd,
				   .first_chunk = (uint32_t)s->map.n_chunks,
				   .n_chunks = 1,
				   .object_bytes = SHM_BYTES};
	struct page_chunk chunk = {.bytes = SHM_BYTES,
				   .space = 1,
				   .first_extent = (uint32_t)s->map.n_extents,
				   .n_extents = 1};
	struct page_extent extent = {.n_pages = SHM_BYTES / PAGE_BYTES};
	unsigned char *bytes = malloc(SHM_BYTES);

	assert_non_null(bytes);
	make_bytes(bytes, SHM_BYTES, 0, SEED_SHM, false);
	assert_int_equal(page_map_add_space(&s->map, &space), 0);
	assert_int_equal(page_map_add_extent(&s->map, &extent), 0);
	put_chunk(s, data_fd, &chunk, bytes);
	free(bytes);
}

static void make_snapshot(struct snapshot *s, pid_t pid)
{
	struct snap_error err = {0};
	int data_fd;

	*s = (struct snapshot){0};
	sandbox_init(&s->box);
	data_fd = openat(s->box.fd, PAGES_DATA_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(data_fd >= 0);
	make_task_space(s, data_fd, pid);
	make_shared_space(s, data_fd, pid);
	assert_int_equal(ftruncate(data_fd, (off_t)s->map.data_bytes), 0);
	assert_int_equal(fdatasync(data_fd), 0);
	(void)close(data_fd);
	if (page_map_check(&s->map, &err) != 0)
		fail_msg("%s", err.msg);
}

static void end_snapshot(struct snapshot *s)
{
	page_map_done(&s->map);
	sandbox_done(&s->box);
}

static void act_threads(struct victim *victim)
{
	victim_idle_threads(victim, N_THREADS);
}

static uint32_t filter_answer; /* of the victim to be forked */

static void act_filtered(struct victim *victim)
{
	victim_forbid(SYS_io_uring_setup, filter_answer);
	act_threads(victim);
}

static void start_stopped(struct victim *victim, void (*act)(struct victim *victim))
{
	assert_int_equal(ftruncate(place.shm_fd, 0), 0);
	assert_int_equal(ftruncate(place.shm_fd, SHM_BYTES), 0);
	victim_start(victim, act);
	assert_true(victim_wait(&victim->shared->ready, N_THREADS));
	assert_int_equal(kill(victim->pid, SIGSTOP), 0);
	assert_true(traces_wait_stopped(victim->pid));
}

static void assert_filled(pid_t pid)
{
	unsigned char *there = malloc(ARENA_BYTES), *want = calloc(1, ARENA_BYTES);
	char path[32];
	int fd;

	assert_non_null(there);
	assert_non_null(want);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		unsigned char *bytes = part_content(&parts[i]);

		for (unsigned int e = 0; e < parts[i].n; e++)
			memcpy(want + parts[i].at + e * parts[i].step,
			       bytes + e * parts[i].extent_bytes, parts[i].extent_bytes);
		free(bytes);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, there, ARENA_BYTES, (off_t)(uintptr_t)place.arena), ARENA_BYTES);
	/* what lies between the extents too */
	assert_memory_equal(there, want, ARENA_BYTES);
	(void)close(fd);
	assert_int_equal(pread(place.shm_fd, there, SHM_BYTES, 0), SHM_BYTES);
	make_bytes(want, SHM_BYTES, 0, SEED_SHM, false);
	assert_memory_equal(there, want, SHM_BYTES);
	free(there);
	free(want);
}

static void run_fill(const struct fill_options *options)
{
	struct fill_result result;
	struct snap_error err = {0};
	struct snapshot s;
	struct victim victim;
	struct traces *before, *after;

	start_stopped(&victim, act_threads);
	make_snapshot(&s, victim.pid);
	before = traces_take(victim.pid);
	if (pages_fill(&s.map, s.box.fd, options, &result, &err) != 0)
		fail_msg("%s", err.msg);
	after = traces_take(victim.pid);
	traces_assert_equal(before, after);
	assert_filled(victim.pid);
	if (options->filler == FILL_FILLER_RING) {
		assert_string_equal(result.why, "");
		assert_string_equal(result.filler, "ring");
		assert_true(result.ring_bytes >= RING_BYTES_AT_MIN);
	} else {
		assert_string_equal(result.filler, "writev");
		assert_int_equal(result.ring_bytes, 0);
	}
	traces_free(before);
	traces_free(after);
	end_snapshot(&s);
	victim_end(&victim);
}

static void test_both_fillers_fill_alike_and_leave_no_trace(void **state)
{
	(void)state;
	for (int filler = FILL_FILLER_RING; filler <= FILL_FILLER_WRITEV; filler++) {
		for (int direct = FILL_DIRECT_ON; direct <= FILL_DIRECT_OFF; direct++) {
			for (int verify = FILL_VERIFY_FULL; verify <= FILL_VERIFY_HEADER;
			     verify++) {
				struct fill_options options = {
					.filler = (enum fill_filler)filler,
					.direct = (enum fill_direct)direct,
					.verify = (enum fill_verify)verify,
					.thp = FILL_THP_NEVER,
				};

				run_fill(&options);
			}
		}
	}
}

/* auto is a filler that works everywhere */
static void test_auto_needs_no_ring(void **state)
{
	struct fill_options options = {.thp = FILL_THP_NEVER};

	(void)state;
	run_fill(&options);
}

/* each part in turn, so those that go by the ring as well as those that do not */
static void test_damage_is_found(void **state)
{
	const struct fill_options options = {.filler = FILL_FILLER_RING, .thp = FILL_THP_NEVER};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		struct fill_result result;
		struct snap_error err = {0};
		struct snapshot s;
		struct victim victim;
		struct traces *before, *after;
		unsigned char byte;
		off_t at;
		int fd;

		start_stopped(&victim, act_threads);
		make_snapshot(&s, victim.pid);
		fd = openat(s.box.fd, PAGES_DATA_NAME, O_RDWR | O_CLOEXEC);
		at = (off_t)(s.map.chunks[i].offset + s.map.chunks[i].stored_bytes - 1);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 1;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		(void)close(fd);
		before = traces_take(victim.pid);
		assert_true(pages_fill(&s.map, s.box.fd, &options, &result, &err) < 0);
		assert_int_equal(err.code, SNAP_E_CORRUPT);
		after = traces_take(victim.pid);
		traces_assert_equal(before, after);
		traces_free(before);
		traces_free(after);
		end_snapshot(&s);
		victim_end(&victim);
	}
}

/* ---- where no ring is to be had ---- */

struct denied {
	const struct snapshot *s;
	uint32_t call; /* forbidden to us, 0: none */
	uint32_t answer;
	bool without_admin; /* may not suspend filters */
	bool expect_ring;
};

static void drop_admin(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data) < 0)
		_exit(98);
	data[0].effective &= ~(1U << CAP_SYS_ADMIN);
	data[0].permitted &= ~(1U << CAP_SYS_ADMIN);
	if (syscall(SYS_capset, &head, data) < 0)
		_exit(98);
}

/* in a child of the test, the worker so to say */
static int fill_denied(void *arg)
{
	const struct denied *denied = arg;
	const struct fill_options options = {.filler = FILL_FILLER_RING, .thp = FILL_THP_NEVER};
	struct fill_result result;
	struct snap_error err = {0};

	if (denied->without_admin)
		drop_admin();
	if (denied->call != 0)
		victim_forbid(denied->call, denied->answer);
	if (pages_fill(&denied->s->map, denied->s->box.fd, &options, &result, &err) != 0) {
		print_message("%s\n", err.msg);
		return 1;
	}
	print_message("%s: %s\n", result.filler, result.why);
	if (denied->expect_ring)
		return strcmp(result.filler, "ring") == 0 && result.why[0] == '\0' ? 0 : 2;
	return strcmp(result.filler, "writev") == 0 && result.why[0] != '\0' ? 0 : 2;
}

static void run_denied(struct denied *denied, void (*act)(struct victim *victim))
{
	struct snapshot s;
	struct victim victim;
	struct traces *before, *after;

	start_stopped(&victim, act);
	make_snapshot(&s, victim.pid);
	denied->s = &s;
	before = traces_take(victim.pid);
	assert_int_equal(sandbox_run(0, fill_denied, denied), 0);
	after = traces_take(victim.pid);
	traces_assert_equal(before, after);
	assert_filled(victim.pid);
	traces_free(before);
	traces_free(after);
	end_snapshot(&s);
	victim_end(&victim);
}

static const uint32_t answers[] = {
	SECCOMP_RET_ERRNO | ENOSYS,
	SECCOMP_RET_ERRNO | EPERM,
	SECCOMP_RET_KILL_PROCESS,
};

static void test_filter_of_the_engine_is_suspended(void **state)
{
	struct denied denied = {.expect_ring = true};

	(void)state;
	if (prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) != 1 || geteuid() != 0) {
		print_message("skipped: suspending filters needs CAP_SYS_ADMIN\n");
		skip();
	}
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		filter_answer = answers[i];
		run_denied(&denied, act_filtered);
	}
}

static void test_filter_of_the_engine_that_cannot_be_suspended(void **state)
{
	struct denied denied = {.without_admin = true};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		filter_answer = answers[i];
		run_denied(&denied, act_filtered);
	}
}

/* one that is forbidden more than the ring calls could not fill at all */
static void test_filter_of_our_own(void **state)
{
	static const uint32_t calls[] = {SYS_pidfd_open, SYS_pidfd_getfd, SYS_io_uring_register};

	(void)state;
	for (size_t c = 0; c < ARRAY_LEN(calls); c++) {
		for (size_t i = 0; i < 2; i++) {
			struct denied denied = {.call = calls[c], .answer = answers[i]};

			run_denied(&denied, act_threads);
		}
	}
}

static int make_place(void)
{
	unsigned char *arena = mmap(NULL, ARENA_BYTES + 2 * MIB, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (arena == MAP_FAILED)
		return -errno;
	place.arena = arena + (2 * MIB - (uintptr_t)arena % (2 * MIB));
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		size_t size = parts[i].n > 1 ? 2 * MIB : parts[i].extent_bytes;

		if (mprotect(place.arena + parts[i].at, size, parts[i].prot) < 0)
			return -errno;
	}
	place.shm_fd = memfd_create("test_fill", MFD_CLOEXEC);
	return place.shm_fd < 0 ? -errno : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_fillers_fill_alike_and_leave_no_trace),
		cmocka_unit_test(test_auto_needs_no_ring),
		cmocka_unit_test(test_damage_is_found),
		cmocka_unit_test(test_filter_of_the_engine_is_suspended),
		cmocka_unit_test(test_filter_of_the_engine_that_cannot_be_suspended),
		cmocka_unit_test(test_filter_of_our_own),
	};

	if (!victim_can_trace() || !traces_can_ring())
		return 77;
	if (make_place() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
