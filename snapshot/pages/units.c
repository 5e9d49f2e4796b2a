/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/units.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

static uint64_t piece_end(const struct pages_run *run, uint64_t at)
{
	uint64_t block = (at | (PAGES_CHUNK_MAX - 1)) + 1;
	uint64_t end = run->address + run->bytes;

	return end < block ? end : block;
}

static size_t count_pieces(const struct pages_plan *plan)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->n_runs; i++) {
		const struct pages_run *run = &plan->runs[i];

		n += (run->address + run->bytes - 1) / PAGES_CHUNK_MAX -
		     run->address / PAGES_CHUNK_MAX + 1;
	}
	return n;
}

static bool joins(const struct pages_unit *unit, const struct pages_run *run, uint64_t bytes)
{
	return unit->n_pieces < PAGES_UNIT_PIECES_MAX && unit->bytes + bytes <= PAGES_CHUNK_MAX &&
	       unit->space == run->space && unit->flags == run->flags;
}

int pages_units_make(const struct pages_plan *plan, struct pages_units *ret)
{
	size_t room = count_pieces(plan);
	struct pages_unit *unit = NULL;

	*ret = (struct pages_units){
		.pieces = calloc(room + 1, sizeof(*ret->pieces)),
		.units = calloc(room + 1, sizeof(*ret->units)),
	};
	if (!ret->pieces || !ret->units) {
		pages_units_done(ret);
		return -ENOMEM;
	}
	for (size_t i = 0; i < plan->n_runs; i++) {
		const struct pages_run *run = &plan->runs[i];

		for (uint64_t at = run->address; at < run->address + run->bytes;) {
			uint64_t end = piece_end(run, at);

			if (!unit || !joins(unit, run, end - at)) {
				unit = &ret->units[ret->n++];
				*unit = (struct pages_unit){
					.first_piece = (uint32_t)ret->n_pieces,
					.space = run->space,
					.flags = run->flags,
				};
			}
			ret->pieces[ret->n_pieces++] = (struct pages_piece){
				.address = at,
				.bytes = (uint32_t)(end - at),
				.region = run->region,
			};
			unit->n_pieces++;
			unit->bytes += (uint32_t)(end - at);
			at = end;
		}
	}
	return 0;
}

void pages_units_done(struct pages_units *units)
{
	free(units->pieces);
	free(units->units);
	*units = (struct pages_units){0};
}
