/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/task/remote_ring.h"

#include "tests/lib/test.h"
#include "tests/unit/task/traces.h"
#include "tests/unit/task/victim.h"

#define N_THREADS   4
#define PIECES	    16U
#define PIECE_BYTES (256U << 10)
#define FILE_BYTES  (PIECES * PIECE_BYTES)

static unsigned char *place; /* at the same address in every victim, untouched here */

static void act_threads(struct victim *victim)
{
	victim_idle_threads(victim, N_THREADS);
}

static void start(struct victim *victim)
{
	victim_start(victim, act_threads);
	assert_true(victim_wait(&victim->shared->ready, N_THREADS));
	assert_true(victim_wait_state(victim->pid, 'S'));
}

static void start_stopped(struct victim *victim)
{
	start(victim);
	assert_int_equal(kill(victim->pid, SIGSTOP), 0);
	assert_true(traces_wait_stopped(victim->pid));
}

static unsigned char *make_content(void)
{
	unsigned char *content = malloc(FILE_BYTES);

	assert_non_null(content);
	for (size_t i = 0; i < FILE_BYTES; i++)
		content[i] = (unsigned char)(i * 2654435761U >> 11);
	return content;
}

static int make_file(const unsigned char *content, int flags)
{
	char path[] = "/tmp/test_remote_ring.XXXXXX";
	int fd = mkstemp(path), again;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, FILE_BYTES), FILE_BYTES);
	assert_int_equal(fdatasync(fd), 0);
	again = open(path, O_RDONLY | O_CLOEXEC | flags);
	assert_true(again >= 0);
	(void)unlink(path);
	(void)close(fd);
	return again;
}

static void read_pieces(struct remote_ring *ring, unsigned int sqe_flags, int rw_flags)
{
	uint64_t deadline_ns = deadline_after_ms(10000), data;
	unsigned int n = 0;
	struct snap_error err = {0};
	int result;

	for (unsigned int i = 0; i < PIECES; i++) {
		struct io_uring_sqe *sqe = remote_ring_next(ring);

		sqe->opcode = IORING_OP_READ;
		sqe->flags = (uint8_t)(IOSQE_FIXED_FILE | sqe_flags);
		sqe->off = (uint64_t)i * PIECE_BYTES;
		sqe->addr = (uint64_t)(uintptr_t)(place + (size_t)i * PIECE_BYTES);
		sqe->len = PIECE_BYTES;
		sqe->rw_flags = rw_flags;
		sqe->user_data = i;
	}
	while (n < PIECES && clock_now_ns() < deadline_ns) {
		if (remote_ring_enter(ring, 1, 100, &err) != 0)
			fail_msg("%s", err.msg);
		while (remote_ring_take(ring, &data, &result)) {
			assert_in_range(data, 0, PIECES - 1);
			assert_int_equal(result, PIECE_BYTES);
			n++;
		}
	}
	assert_int_equal(n, PIECES);
}

static void assert_content(pid_t pid, const unsigned char *content)
{
	unsigned char *there = malloc(FILE_BYTES);
	struct iovec local = {there, FILE_BYTES}, remote = {place, FILE_BYTES};

	assert_non_null(there);
	assert_int_equal(process_vm_readv(pid, &local, 1, &remote, 1, 0), FILE_BYTES);
	assert_memory_equal(there, content, FILE_BYTES);
	free(there);
}

/* of one victim; what it was before, it is afterwards */
static void run_ring(int file_flags, unsigned int sqe_flags, bool stopped)
{
	unsigned char *content = make_content();
	int fd = make_file(content, file_flags);
	struct injector injector;
	struct remote_ring ring;
	struct snap_error err = {0};
	struct victim victim;
	struct traces *before, *after;

	if (stopped)
		start_stopped(&victim);
	else
		start(&victim);
	before = traces_take(victim.pid);
	assert_true(victim_wait_state(victim.pid, stopped ? 'T' : 'S'));
	assert_int_equal(injector_attach(victim.pid, NULL, &injector, &err), 0);
	if (remote_ring_make(&injector, PIECES, 4096, &fd, 1, &ring, &err) != 0)
		fail_msg("%s", err.msg);
	read_pieces(&ring, sqe_flags, stopped ? RWF_NOWAIT : 0);
	if (remote_ring_close(&ring, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(remote_ring_close(&ring, NULL), 0);
	if (remote_ring_settle(&ring, deadline_after_ms(4000), &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(injector_detach(&injector), 0);
	assert_true(victim_wait_state(victim.pid, stopped ? 'T' : 'S'));
	after = traces_take(victim.pid);
	traces_assert_equal(before, after);
	assert_content(victim.pid, content);
	traces_free(before);
	traces_free(after);
	victim_end(&victim);
	(void)close(fd);
	free(content);
}

static void test_reads_land_in_the_other_process(void **state)
{
	(void)state;
	run_ring(0, 0, true);
	run_ring(O_DIRECT, 0, true);
}

/* the kernel makes threads in the process; where it is not stopped as a whole they end */
static void test_helper_threads_are_waited_for(void **state)
{
	(void)state;
	run_ring(0, IOSQE_ASYNC, false);
	run_ring(O_DIRECT, IOSQE_ASYNC, false);
}

/* reads that nobody has waited for have ended when the ring is settled */
static void test_close_with_reads_under_way(void **state)
{
	unsigned char *content = make_content();
	int fd = make_file(content, O_DIRECT);
	struct injector injector;
	struct remote_ring ring;
	struct victim victim;
	struct traces *before, *after;

	(void)state;
	start_stopped(&victim);
	before = traces_take(victim.pid);
	assert_int_equal(injector_attach(victim.pid, NULL, &injector, NULL), 0);
	assert_int_equal(remote_ring_make(&injector, PIECES, 4096, &fd, 1, &ring, NULL), 0);
	for (unsigned int i = 0; i < PIECES; i++) {
		struct io_uring_sqe *sqe = remote_ring_next(&ring);

		sqe->opcode = IORING_OP_READ;
		sqe->flags = IOSQE_FIXED_FILE;
		sqe->off = (uint64_t)i * PIECE_BYTES;
		sqe->addr = (uint64_t)(uintptr_t)(place + (size_t)i * PIECE_BYTES);
		sqe->len = PIECE_BYTES;
		sqe->rw_flags = RWF_NOWAIT;
	}
	assert_int_equal(remote_ring_enter(&ring, 0, 0, NULL), 0);
	assert_int_equal(remote_ring_close(&ring, NULL), 0);
	assert_int_equal(remote_ring_settle(&ring, deadline_after_ms(4000), NULL), 0);
	assert_int_equal(injector_detach(&injector), 0);
	after = traces_take(victim.pid);
	traces_assert_equal(before, after);
	traces_free(before);
	traces_free(after);
	victim_end(&victim);
	(void)close(fd);
	free(content);
}

static void test_enter_comes_back_without_a_completion(void **state)
{
	struct injector injector;
	struct remote_ring ring;
	struct victim victim;
	struct io_uring_sqe *sqe;
	uint64_t start_ns, data;
	int ends[2], result;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	start_stopped(&victim);
	assert_int_equal(injector_attach(victim.pid, NULL, &injector, NULL), 0);
	assert_int_equal(remote_ring_make(&injector, 4, 4096, ends, 1, &ring, NULL), 0);
	sqe = remote_ring_next(&ring);
	sqe->opcode = IORING_OP_READ;
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->addr = (uint64_t)(uintptr_t)place;
	sqe->len = 1;
	start_ns = clock_now_ns();
	assert_int_equal(remote_ring_enter(&ring, 1, 50, NULL), 0);
	assert_in_range((clock_now_ns() - start_ns) / NS_PER_MS, 40, 5000);
	assert_false(remote_ring_take(&ring, &data, &result));
	assert_int_equal(remote_ring_close(&ring, NULL), 0);
	assert_int_equal(remote_ring_settle(&ring, deadline_after_ms(4000), NULL), 0);
	assert_int_equal(injector_detach(&injector), 0);
	victim_end(&victim);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void test_no_descriptor_left_in_the_process(void **state)
{
	struct rlimit none = {0, 0};
	struct injector injector;
	struct remote_ring ring;
	struct snap_error err = {0};
	struct victim victim;
	struct traces *before, *after;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	start_stopped(&victim);
	assert_int_equal(prlimit(victim.pid, RLIMIT_NOFILE, &none, NULL), 0);
	before = traces_take(victim.pid);
	assert_int_equal(injector_attach(victim.pid, NULL, &injector, NULL), 0);
	assert_int_equal(remote_ring_make(&injector, 4, 4096, &fd, 1, &ring, &err), -EMFILE);
	assert_non_null(strstr(err.msg, "io_uring_setup"));
	assert_int_equal(injector_detach(&injector), 0);
	after = traces_take(victim.pid);
	traces_assert_equal(before, after);
	traces_free(before);
	traces_free(after);
	victim_end(&victim);
	(void)close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_land_in_the_other_process),
		cmocka_unit_test(test_helper_threads_are_waited_for),
		cmocka_unit_test(test_close_with_reads_under_way),
		cmocka_unit_test(test_enter_comes_back_without_a_completion),
		cmocka_unit_test(test_no_descriptor_left_in_the_process),
	};

	if (!victim_can_trace() || !traces_can_ring())
		return 77;
	place = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (place == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
