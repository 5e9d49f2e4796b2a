/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/loop.h"

#include "tests/lib/test.h"

#define N 4

struct bench {
	struct loop loop;
	struct loop_source sources[N];
	int fds[N];
	int order[16];
	int calls;
	int remove; /* index that every callback removes, -1: none */
	int fail;   /* index whose callback fails, -1: none */
};

static int make_bench(void **state)
{
	static struct bench bench;

	bench = (struct bench){.remove = -1, .fail = -1};
	if (loop_init(&bench.loop) < 0)
		return -1;
	for (int i = 0; i < N; i++)
		bench.fds[i] = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	*state = &bench;
	return 0;
}

static int drop_bench(void **state)
{
	struct bench *bench = *state;

	for (int i = 0; i < N; i++) {
		loop_remove(&bench->sources[i]);
		bench->fds[i] = fd_close(bench->fds[i]);
	}
	loop_done(&bench->loop);
	return 0;
}

static int note(struct loop_source *source, uint32_t events)
{
	struct bench *bench = source->owner;
	int index = (int)(source - bench->sources);

	assert_true(events & EPOLLIN);
	bench->order[bench->calls++] = index;
	if (bench->remove >= 0)
		loop_remove(&bench->sources[bench->remove]);
	return index == bench->fail ? -ECANCELED : 0;
}

static void add(struct bench *bench, int index, int priority)
{
	assert_int_equal(loop_add(&bench->loop, &bench->sources[index], bench->fds[index], EPOLLIN,
				  priority, note, bench),
			 0);
}

static void test_small_priority_runs_first(void **state)
{
	struct bench *bench = *state;

	add(bench, 0, 10);
	add(bench, 1, -20);
	add(bench, 2, 0);
	add(bench, 3, -30);
	assert_int_equal(loop_run_once(&bench->loop, 0), 4);
	assert_int_equal(bench->order[0], 3);
	assert_int_equal(bench->order[1], 1);
	assert_int_equal(bench->order[2], 2);
	assert_int_equal(bench->order[3], 0);
}

static void test_source_is_called_until_it_is_not_ready(void **state)
{
	struct bench *bench = *state;
	uint64_t value;

	add(bench, 0, 0);
	assert_int_equal(loop_run_once(&bench->loop, 0), 1);
	assert_int_equal(loop_run_once(&bench->loop, 0), 1);
	assert_int_equal(read(bench->fds[0], &value, sizeof(value)), sizeof(value));
	assert_int_equal(loop_run_once(&bench->loop, 0), 0);
	assert_int_equal(bench->calls, 2);
}

static void test_removed_source_is_not_called(void **state)
{
	struct bench *bench = *state;

	add(bench, 0, 0);
	add(bench, 1, 1);
	bench->remove = 1;
	assert_int_equal(loop_run_once(&bench->loop, 0), 1);
	assert_int_equal(bench->calls, 1);
	assert_int_equal(bench->order[0], 0);
	assert_null(bench->sources[1].loop);
}

static void test_source_may_remove_itself_twice(void **state)
{
	struct bench *bench = *state;

	add(bench, 0, 0);
	bench->remove = 0;
	assert_int_equal(loop_run_once(&bench->loop, 0), 1);
	loop_remove(&bench->sources[0]);
	assert_int_equal(loop_run_once(&bench->loop, 0), 0);
}

static void test_failing_callback_ends_the_turn(void **state)
{
	struct bench *bench = *state;

	add(bench, 0, 0);
	add(bench, 1, 1);
	bench->fail = 0;
	assert_int_equal(loop_run_once(&bench->loop, 0), -ECANCELED);
	assert_int_equal(bench->calls, 1);
}

static void test_changed_events_count_from_the_next_turn(void **state)
{
	struct bench *bench = *state;

	add(bench, 0, 0);
	assert_int_equal(loop_change(&bench->sources[0], 0), 0);
	assert_int_equal(loop_run_once(&bench->loop, 0), 0);
	assert_int_equal(loop_change(&bench->sources[0], EPOLLIN), 0);
	assert_int_equal(loop_run_once(&bench->loop, 0), 1);
	assert_int_equal(loop_change(&bench->sources[1], EPOLLIN), -ENOENT);
}

static void test_what_epoll_refuses_is_told(void **state)
{
	struct bench *bench = *state;
	FILE *file = tmpfile();

	assert_non_null(file);
	assert_int_equal(
		loop_add(&bench->loop, &bench->sources[0], fileno(file), EPOLLIN, 0, note, bench),
		-EPERM);
	assert_null(bench->sources[0].loop);
	(void)fclose(file);
}

static void test_timeout_without_events_is_zero(void **state)
{
	struct bench *bench = *state;

	assert_int_equal(loop_run_once(&bench->loop, 5), 0);
}

#define WITH_BENCH(test) cmocka_unit_test_setup_teardown(test, make_bench, drop_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_BENCH(test_small_priority_runs_first),
		WITH_BENCH(test_source_is_called_until_it_is_not_ready),
		WITH_BENCH(test_removed_source_is_not_called),
		WITH_BENCH(test_source_may_remove_itself_twice),
		WITH_BENCH(test_failing_callback_ends_the_turn),
		WITH_BENCH(test_changed_events_count_from_the_next_turn),
		WITH_BENCH(test_what_epoll_refuses_is_told),
		WITH_BENCH(test_timeout_without_events_is_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
