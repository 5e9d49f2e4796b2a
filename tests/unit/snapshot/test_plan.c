/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/pages/plan.h"
#include "snapshot/task/pagemap.h"

#include "tests/lib/test.h"
#include "tests/unit/task/traces.h"
#include "tests/unit/task/victim.h"

/* made before the fork: nobody writes to the first two parts after it */
#define N_VICTIMS     2
#define SHARED_PAGES  512U
#define ZERO_PAGES    256U
#define OWN_PAGES     512U
#define CONTENT_BYTES ((uint64_t)SHARED_PAGES * PAGE_BYTES)
#define ZERO_BYTES    ((uint64_t)ZERO_PAGES * PAGE_BYTES)
#define OWN_BYTES     ((uint64_t)OWN_PAGES * PAGE_BYTES)
#define ARENA_BYTES   (CONTENT_BYTES + ZERO_BYTES + OWN_BYTES)

static unsigned char *arena;

static uint64_t arena_at(uint64_t offset)
{
	return (uint64_t)(uintptr_t)arena + offset;
}

static void act_forked(struct victim *victim)
{
	memset(arena + CONTENT_BYTES + ZERO_BYTES, 'v', OWN_BYTES);
	victim_ready(victim);
}

static size_t count_exclusive(pid_t pid, uint64_t address, size_t n_pages)
{
	uint64_t *entries = calloc(n_pages, sizeof(*entries));
	int fd = pagemap_open(pid);
	size_t n = 0;

	assert_non_null(entries);
	assert_true(fd >= 0);
	assert_int_equal(pagemap_read(fd, address, entries, n_pages), n_pages);
	for (size_t i = 0; i < n_pages; i++) {
		assert_true(entries[i] & PAGEMAP_PRESENT);
		n += (entries[i] & PAGEMAP_EXCLUSIVE) != 0;
	}
	(void)fd_close(fd);
	free(entries);
	return n;
}

static const struct page_region *arena_region(const struct pages_plan *plan, pid_t pid)
{
	for (size_t i = 0; i < plan->map.n_regions; i++) {
		const struct page_region *region = &plan->map.regions[i];

		if (region->pid == pid && region->start <= arena_at(0) &&
		    region->end >= arena_at(ARENA_BYTES))
			return region;
	}
	fail_msg("the arena of %d is in no region", (int)pid);
	return NULL;
}

static uint64_t bytes_in_runs(const struct pages_plan *plan, const struct page_region *region)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < plan->n_runs; i++) {
		const struct pages_run *run = &plan->runs[i];
		bool here = &plan->map.regions[run->region] == region;

		if (here && run->address >= arena_at(0) && run->address < arena_at(ARENA_BYTES)) {
			assert_true(run->flags & PAGES_RUN_NO_HUGE);
			bytes += run->bytes;
		}
	}
	return bytes;
}

static void plan_victims(const struct victim *victims, struct pages_plan *plan)
{
	struct tree_process processes[N_VICTIMS] = {0};
	struct task_tree tree = {.processes = processes, .n_processes = N_VICTIMS};
	struct snap_error err = {0};

	for (size_t i = 0; i < N_VICTIMS; i++)
		processes[i].pid = victims[i].pid;
	if (pages_plan_make(&tree, NULL, NULL, plan, &err) != 0)
		fail_msg("%s", err.msg);
}

/* a look by process_vm_readv would give each process a copy of its own */
static void test_planning_takes_no_sharing_away(void **state)
{
	struct victim victims[N_VICTIMS];
	struct pages_plan plan;

	(void)state;
	for (size_t i = 0; i < N_VICTIMS; i++) {
		victim_start(&victims[i], act_forked);
		assert_int_equal(kill(victims[i].pid, SIGSTOP), 0);
		assert_true(traces_wait_stopped(victims[i].pid));
	}
	plan_victims(victims, &plan);
	for (size_t i = 0; i < N_VICTIMS; i++) {
		const pid_t pid = victims[i].pid;
		const struct page_region *region = arena_region(&plan, pid);

		assert_int_equal(count_exclusive(pid, arena_at(0), SHARED_PAGES + ZERO_PAGES), 0);
		assert_int_equal(
			count_exclusive(pid, arena_at(CONTENT_BYTES + ZERO_BYTES), OWN_PAGES),
			OWN_PAGES);
		assert_true(region->kept & PAGE_KEPT_COW);
		assert_true(region->kept_bytes >= CONTENT_BYTES);
		assert_true(region->zero_bytes >= ZERO_BYTES);
		assert_int_equal(bytes_in_runs(&plan, region), OWN_BYTES);
	}
	pages_plan_done(&plan);
	for (size_t i = 0; i < N_VICTIMS; i++)
		victim_end(&victims[i]);
}

static int make_arena(void)
{
	arena = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED || madvise(arena, ARENA_BYTES, MADV_NOHUGEPAGE) < 0)
		return -1;
	memset(arena, 's', ARENA_BYTES);
	memset(arena + CONTENT_BYTES, 0, ZERO_BYTES);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_planning_takes_no_sharing_away),
	};

	if (!victim_can_trace())
		return 77;
	if (make_arena() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
