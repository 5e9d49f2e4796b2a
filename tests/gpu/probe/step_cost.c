/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tests/fixtures/cuda_library.h"

#include "body.h"
#include "gpu_steps.h"
#include "looked_at.h"
#include "maps.h"
#include "row.h"
#include "walk.h"

/* one whole walk: an unlock follows where the checkpoint is refused, for the process to serve on */
static void walk_kind(const char *step, const char *kind, size_t mib, bool with_speed)
{
	const double bytes = (double)mib * (1 << 20);
	char before[64], after[64] = "";
	struct target target;
	struct walk walk;
	long rss;

	if (!target_start(&target, step, kind, mib))
		return;
	target_sum(&target, before, sizeof(before));
	rss = maps_status_kib(target.pid, "VmRSS");
	(void)walk_through(target.pid, WALK_LOCK, WALK_CHECKPOINT, &walk);
	row_open(step, kind);
	row_number("mib", (long long)mib);
	walk_put(&walk);
	row_number("staging_kib", maps_status_kib(target.pid, "VmRSS") - rss);
	if (with_speed && walk.codes[WALK_CHECKPOINT] == CUDA_SUCCESS)
		row_speed("checkpoint_gb_s", bytes, walk.ms[WALK_CHECKPOINT]);
	if (walk.codes[WALK_CHECKPOINT] == CUDA_SUCCESS)
		(void)walk_through(target.pid, WALK_RESTORE, WALK_UNLOCK, &walk);
	else
		(void)walk_through(target.pid, WALK_UNLOCK, WALK_UNLOCK, &walk);
	walk.codes[WALK_LOCK] = walk.codes[WALK_CHECKPOINT] = -1;
	walk_put(&walk);
	if (with_speed && walk.codes[WALK_RESTORE] == CUDA_SUCCESS)
		row_speed("restore_gb_s", bytes, walk.ms[WALK_RESTORE]);
	if (walk.codes[WALK_UNLOCK] == CUDA_SUCCESS)
		target_sum(&target, after, sizeof(after));
	row_flag("sums_equal", *before && strcmp(before, after) == 0);
	row_close();
	target_end(&target);
}

void step_cost(size_t mib)
{
	CUDA_CALL(cuInit, 0);
	walk_kind("cost", "plain", mib, true);
}

void step_variants(size_t mib)
{
	CUDA_CALL(cuInit, 0);
	for (const char *const *kind = body_kinds; *kind; kind++)
		walk_kind("variants", *kind, mib, false);
}
