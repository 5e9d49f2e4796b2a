/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/placement.h"

#include "snapshot/pages/map.h"

static uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

/* a gap too many is lost: a hole in the file, which costs no disk */
static void add_gap(struct placement *placement, uint64_t start, uint64_t end)
{
	if (start < end && placement->n_gaps < PLACEMENT_GAPS_MAX)
		placement->gaps[placement->n_gaps++] = (struct placement_gap){start, end};
}

static uint64_t take_gap(struct placement *placement, size_t i, uint64_t bytes)
{
	struct placement_gap *gap = &placement->gaps[i];
	uint64_t at = gap->start;

	gap->start += bytes;
	if (gap->start == gap->end)
		*gap = placement->gaps[--placement->n_gaps];
	return at;
}

uint64_t placement_take(struct placement *placement, uint64_t bytes)
{
	uint64_t at = placement->end;

	bytes = round_up(bytes, PAGE_BYTES);
	if (bytes == PAGES_DENSE_ALIGN) {
		at = round_up(placement->end, PAGES_DENSE_ALIGN);
		add_gap(placement, placement->end, at);
	} else {
		for (size_t i = 0; i < placement->n_gaps; i++) {
			if (placement->gaps[i].end - placement->gaps[i].start >= bytes)
				return take_gap(placement, i, bytes);
		}
	}
	placement->end = at + bytes;
	return at;
}
