/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/advice.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "common/io.h"
#include "snapshot/task/injector.h"

#define HUGE_BYTES  PAGES_DENSE_ALIGN
#define THP_ENABLED "/sys/kernel/mm/transparent_hugepage/enabled"

/* walks the extents of one address space and finds runs of dense huge pages */
struct dense_walk {
	uint64_t block; /* the huge page at hand */
	uint64_t present;
	bool unwilling;	    /* a mapping in it wants no huge pages */
	uint64_t run_start; /* dense so far: run_start .. run_end */
	uint64_t run_end;
	struct injector injector;
	bool attached;
	bool refused;
	uint64_t advised;
};

static bool is_advice_wanted(void)
{
	char text[64];

	return io_read_line(AT_FDCWD, THP_ENABLED, text, sizeof(text)) > 0 &&
	       strstr(text, "[madvise]") != NULL;
}

static void advise(struct dense_walk *walk, pid_t pid)
{
	struct injector_options options = {0};
	const uint64_t args[6] = {walk->run_start, walk->run_end - walk->run_start, MADV_HUGEPAGE};
	int64_t value = -1;

	if (walk->run_end == walk->run_start || walk->refused)
		return;
	if (!walk->attached)
		walk->attached = injector_attach(pid, &options, &walk->injector, NULL) == 0;
	walk->refused = !walk->attached ||
			injector_call(&walk->injector, SYS_madvise, args, &value, NULL) < 0;
	if (!walk->refused && value == 0)
		walk->advised += args[1];
}

/* the block is complete */
static void end_block(struct dense_walk *walk, pid_t pid)
{
	bool dense = !walk->unwilling &&
		     walk->present * 100 >= (uint64_t)HUGE_BYTES * PAGES_DENSE_PERCENT;

	if (dense && walk->run_end == walk->block) {
		walk->run_end += HUGE_BYTES;
	} else if (dense) {
		advise(walk, pid);
		walk->run_start = walk->block;
		walk->run_end = walk->block + HUGE_BYTES;
	}
	walk->present = 0;
	walk->unwilling = false;
}

static void walk_extent(struct dense_walk *walk, pid_t pid, const struct page_extent *extent,
			bool unwilling)
{
	uint64_t at = extent->address;
	uint64_t end = at + (uint64_t)extent->n_pages * PAGE_BYTES;

	while (at < end) {
		uint64_t block = at / HUGE_BYTES * HUGE_BYTES;
		uint64_t stop = block + HUGE_BYTES < end ? block + HUGE_BYTES : end;

		if (block != walk->block) {
			end_block(walk, pid);
			walk->block = block;
		}
		walk->present += stop - at;
		walk->unwilling |= unwilling;
		at = stop;
	}
}

int pages_advise_huge(const struct page_map *map, uint64_t *ret_bytes, struct snap_error *err)
{
	(void)err;
	*ret_bytes = 0;
	if (!is_advice_wanted())
		return 0;
	for (size_t i = 0; i < map->n_spaces; i++) {
		const struct page_space *space = &map->spaces[i];
		struct dense_walk walk = {0};

		if (space->kind != PAGE_SPACE_TASK)
			continue;
		for (uint32_t c = 0; c < space->n_chunks; c++) {
			const struct page_chunk *chunk = &map->chunks[space->first_chunk + c];

			for (uint32_t e = 0; e < chunk->n_extents; e++)
				walk_extent(&walk, space->pid,
					    &map->extents[chunk->first_extent + e],
					    chunk->flags & PAGE_CHUNK_NO_HUGE);
		}
		end_block(&walk, space->pid);
		advise(&walk, space->pid);
		if (walk.attached)
			(void)injector_detach(&walk.injector);
		*ret_bytes += walk.advised;
	}
	return 0;
}
