/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/staging.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "snapshot/task/procmaps.h"

#define RANGES_MAX (1U << 20)

static int add_range(struct address_ranges *ranges, uint64_t start, uint64_t end)
{
	if (ranges->n > 0 && ranges->items[ranges->n - 1].end == start) {
		ranges->items[ranges->n - 1].end = end;
		return 0;
	}
	if (ranges->n == ranges->room) {
		size_t room = ranges->room ? ranges->room * 2 : 256;
		struct address_range *bigger;

		if (room > RANGES_MAX)
			return -E2BIG;
		bigger = reallocarray(ranges->items, room, sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		ranges->items = bigger;
		ranges->room = room;
	}
	ranges->items[ranges->n++] = (struct address_range){start, end};
	return 0;
}

static int look(struct procmaps *maps, struct address_ranges *ret)
{
	struct proc_map map;
	int r;

	while ((r = procmaps_next(maps, &map)) > 0) {
		if (map.shared || map.path[0] != '\0' || map.prot != (PROT_READ | PROT_WRITE))
			continue;
		r = add_range(ret, map.start, map.end);
		if (r < 0)
			return r;
	}
	return r;
}

int staging_look(pid_t pid, struct address_ranges *ret, struct snap_error *err)
{
	struct procmaps *maps = malloc(sizeof(*maps));
	int r = -ENOMEM;

	*ret = (struct address_ranges){0};
	if (maps)
		r = procmaps_open(maps, pid);
	if (r == 0) {
		r = look(maps, ret);
		procmaps_close(maps);
	}
	free(maps);
	if (r == 0)
		return 0;
	address_ranges_done(ret);
	return snap_fail(err, SNAP_E_GPU, -r, "cannot read the mappings of process %d", (int)pid);
}

static int add_staging(struct manifest_gpu *gpu, pid_t pid, uint64_t start, uint64_t end)
{
	struct manifest_gpu_staging *bigger =
		reallocarray(gpu->staging, gpu->n_staging + 1, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	gpu->staging = bigger;
	bigger[gpu->n_staging++] = (struct manifest_gpu_staging){(int32_t)pid, start, end};
	return 0;
}

int staging_difference(const struct address_ranges *before, const struct address_ranges *after,
		       pid_t pid, struct manifest_gpu *gpu, uint64_t *ret_bytes)
{
	size_t old = 0;

	*ret_bytes = 0;
	for (size_t i = 0; i < after->n; i++) {
		uint64_t at = after->items[i].start;

		while (at < after->items[i].end) {
			uint64_t until = after->items[i].end;
			int r;

			while (old < before->n && before->items[old].end <= at)
				old++;
			if (old < before->n && before->items[old].start <= at) {
				at = before->items[old].end;
				continue;
			}
			if (old < before->n && before->items[old].start < until)
				until = before->items[old].start;
			r = add_staging(gpu, pid, at, until);
			if (r < 0)
				return r;
			*ret_bytes += until - at;
			at = until;
		}
	}
	return 0;
}

void address_ranges_done(struct address_ranges *ranges)
{
	free(ranges->items);
	*ranges = (struct address_ranges){0};
}
