/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/io.h"
#include "snapshot/pages/advice.h"
#include "snapshot/task/mappings.h"

#include "tests/lib/test.h"
#include "tests/unit/task/traces.h"
#include "tests/unit/task/victim.h"

/* huge pages in a row, dense each; the middle one is of a mapping that wants none */
#define BLOCKS	    4
#define UNWILLING   1
#define HUGE_BYTES  PAGES_DENSE_ALIGN
#define THP_ENABLED "/sys/kernel/mm/transparent_hugepage/enabled"

static unsigned char *arena;

static int make_arena(void)
{
	unsigned char *at = mmap(NULL, (BLOCKS + 1) * HUGE_BYTES, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return -1;
	arena = at + (HUGE_BYTES - (uintptr_t)at % HUGE_BYTES) % HUGE_BYTES;
	return madvise(arena + UNWILLING * HUGE_BYTES, HUGE_BYTES, MADV_NOHUGEPAGE);
}

static uint64_t block_at(int block)
{
	return (uint64_t)(uintptr_t)arena + (uint64_t)block * HUGE_BYTES;
}

static void act_idle(struct victim *victim)
{
	victim_ready(victim);
}

static void make_map(pid_t pid, struct page_map *map)
{
	const struct page_space space = {
		.kind = PAGE_SPACE_TASK, .pid = pid, .fd = -1, .n_chunks = BLOCKS};

	*map = (struct page_map){0};
	assert_int_equal(page_map_add_space(map, &space), 0);
	for (int i = 0; i < BLOCKS; i++) {
		const struct page_extent extent = {.address = block_at(i),
						   .n_pages = HUGE_BYTES / PAGE_BYTES};
		const struct page_chunk chunk = {
			.bytes = HUGE_BYTES,
			.first_extent = (uint32_t)i,
			.n_extents = 1,
			.flags = PAGE_CHUNK_DENSE | (i == UNWILLING ? PAGE_CHUNK_NO_HUGE : 0U),
		};

		assert_int_equal(page_map_add_extent(map, &extent), 0);
		assert_int_equal(page_map_add_chunk(map, &chunk), 0);
	}
}

static uint32_t flags_of(const struct mappings *mappings, uint64_t address)
{
	for (size_t i = 0; i < mappings->n; i++) {
		if (mappings->items[i].start <= address && address < mappings->items[i].end)
			return mappings->items[i].flags & (MAPPING_HUGE | MAPPING_NO_HUGE);
	}
	return 0;
}

static void test_dense_pages_are_advised_but_those_that_want_none(void **state)
{
	struct mappings mappings;
	struct victim victim;
	struct page_map map;
	uint64_t advised;

	(void)state;
	victim_start(&victim, act_idle);
	assert_int_equal(kill(victim.pid, SIGSTOP), 0);
	assert_true(traces_wait_stopped(victim.pid));
	make_map(victim.pid, &map);
	assert_int_equal(pages_advise_huge(&map, &advised, NULL), 0);
	assert_true(advised == (BLOCKS - 1) * (uint64_t)HUGE_BYTES);
	assert_int_equal(mappings_load(victim.pid, &mappings, NULL), 0);
	for (int i = 0; i < BLOCKS; i++)
		assert_int_equal(flags_of(&mappings, block_at(i)),
				 i == UNWILLING ? MAPPING_NO_HUGE : MAPPING_HUGE);
	mappings_done(&mappings);
	page_map_done(&map);
	victim_end(&victim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dense_pages_are_advised_but_those_that_want_none),
	};
	char text[64] = "";

	if (!victim_can_trace())
		return 77;
	(void)io_read_line(AT_FDCWD, THP_ENABLED, text, sizeof(text));
	if (!strstr(text, "[madvise]")) {
		(void)puts("SKIP: transparent huge pages are not by madvise here");
		return 77;
	}
	if (make_arena() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
