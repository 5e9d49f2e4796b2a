/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/io.h"
#include "snapshot/archive/import.h"
#include "snapshot/lease.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

/* An archive whose end does not come, into a file system with locks and into one without. */

#define GIVEN ((size_t)16000) /* bytes, to the middle of the last member */

/* a file system without locks */
static bool no_locks;

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);

int __wrap_flock(int fd, int operation)
{
	if (!no_locks)
		return __real_flock(fd, operation);
	errno = ENOLCK;
	return -1;
}

struct bench {
	struct sandbox box;
	char store[128];
	char *archive;
	size_t size;
	int from; /* gives the first GIVEN bytes */
	int to;
	bool lease_seen; /* by somebody, while the members came */
};

static void bench_init(struct bench *b)
{
	int pair[2], size = 1 << 20;

	*b = (struct bench){.from = -1};
	sandbox_init(&b->box);
	(void)sandbox_path(&b->box, "store", b->store, sizeof(b->store));
	assert_int_equal(
		io_read_file(AT_FDCWD, SNAP_TEST_ARCHIVE, 1U << 20, &b->archive, &b->size, NULL),
		0);
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	assert_true(fcntl(pair[1], F_SETPIPE_SZ, size) >= size);
	b->from = pair[0];
	b->to = pair[1];
	assert_int_equal(io_write_full(b->to, b->archive, GIVEN), 0);
}

static void bench_done(struct bench *b)
{
	no_locks = false;
	free(b->archive);
	(void)close(b->from);
	(void)close(b->to);
	sandbox_done(&b->box);
}

static void look_for_lease(void *arg, uint64_t done, uint64_t total)
{
	struct bench *b = arg;

	(void)total;
	/* of the manifest: nothing is made yet */
	if (done > 0 && sandbox_has(&b->box, "store/gen-1"))
		b->lease_seen = sandbox_has(&b->box, "store/lease");
}

static void test_without_locks_a_stalled_input_is_the_end(void **state)
{
	struct archive_talk talk = {.progress = look_for_lease, .stall_ms = 50};
	struct import_result result;
	struct snap_error err = {0};
	struct bench b;

	(void)state;
	bench_init(&b);
	no_locks = true;
	talk.arg = &b;
	assert_true(import_archive(b.from, b.store, &talk, &result, &err) < 0);
	assert_int_equal(err.code, SNAP_E_PREFLIGHT);
	assert_non_null(strstr(err.msg, "the input stalled"));
	assert_true(b.lease_seen);
	assert_false(sandbox_has(&b.box, "store"));
	bench_done(&b);
}

static void test_with_locks_the_lease_is_free_while_members_come(void **state)
{
	struct archive_talk talk = {.progress = look_for_lease, .stall_ms = 1};
	struct import_result result;
	struct snap_error err = {0};
	struct bench b;

	(void)state;
	bench_init(&b);
	talk.arg = &b;
	assert_int_equal(io_write_full(b.to, b.archive + GIVEN, b.size - GIVEN), 0);
	(void)close(b.to);
	b.to = -1;
	assert_int_equal(import_archive(b.from, b.store, &talk, &result, &err), 0);
	assert_false(b.lease_seen);
	assert_true(sandbox_has(&b.box, "store/current"));
	assert_false(sandbox_has(&b.box, "store/lease"));
	bench_done(&b);
}

static void test_padding_that_does_not_come_is_not_waited_for(void **state)
{
	struct archive_talk talk = {.stop = NULL};
	struct import_result result;
	struct bench b;

	(void)state;
	bench_init(&b);
	assert_int_equal(io_write_full(b.to, b.archive + GIVEN, b.size - GIVEN - 1000), 0);
	assert_int_equal(import_archive(b.from, b.store, &talk, &result, NULL), 0);
	assert_true(sandbox_has(&b.box, "store/current"));
	bench_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_without_locks_a_stalled_input_is_the_end),
		cmocka_unit_test(test_with_locks_the_lease_is_free_while_members_come),
		cmocka_unit_test(test_padding_that_does_not_come_is_not_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
