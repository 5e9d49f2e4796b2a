/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/evacuate.h"

#include <errno.h>
#include <fcntl.h>

#include "common/fd.h"
#include "snapshot/pages/drop.h"
#include "snapshot/pages/fill.h"
#include "snapshot/steps.h"

static int note_for_drop(const struct injector *injector, void *arg)
{
	int r = recovery_note_thread(injector, arg);

	return r == 0 ? steps_fault("drop-thread-noted", NULL) : r;
}

static int keep(int gen_fd, const struct evacuate_config *config, struct snap_error *err)
{
	const int flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
	snap_cleanup_close int map_fd = openat(gen_fd, PAGES_MAP_NAME, flags);
	snap_cleanup_close int data_fd = openat(gen_fd, PAGES_DATA_NAME, flags);
	const struct recovery_files files = {gen_fd, map_fd, data_fd};

	if (map_fd < 0 || data_fd < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot open the page files");
	return config->keep(config->arg, &files, err);
}

int evacuate(const struct task_tree *tree, int gen_fd, const struct evacuate_config *config,
	     struct evacuation *ret, struct snap_error *err)
{
	int r;

	*ret = (struct evacuation){0};
	r = pages_plan_make(tree, recovery_note_thread, config->journal, &ret->plan, err);
	ret->unsure = r < 0;
	if (r == 0)
		r = steps_fault("planned", err);
	if (r < 0 || ret->plan.n_runs == 0)
		return r;
	r = pages_write(&ret->plan, gen_fd, &config->write, &ret->written, err);
	if (r == 0)
		r = steps_fault("pages-written", err);
	if (r == 0)
		r = page_map_save(gen_fd, &ret->plan.map, err);
	if (r == 0)
		r = steps_fault("map-written", err);
	if (r < 0)
		return r;
	ret->made = true;
	if (config->keep)
		r = keep(gen_fd, config, err);
	if (r == 0)
		r = steps_fault("kept", err);
	if (r < 0)
		return r;
	r = recovery_note_dropped(config->journal, config->store_path, config->generation);
	if (r < 0)
		return snap_fail(err, SNAP_E_DUMP, -r, "cannot note what is dropped");
	ret->dropped = true;
	r = steps_fault("drop-noted", err);
	if (r < 0)
		return r;
	r = pages_drop(&ret->plan, note_for_drop, config->journal, err);
	ret->unsure = r < 0;
	return r == 0 ? steps_fault("dropped", err) : r;
}

int evacuation_refill(struct evacuation *evacuation, int gen_fd,
		      const struct recovery_journal *journal, struct snap_error *err)
{
	/* its mappings are to be as they were: no advice, and no call in a task without a note */
	struct fill_options options = {.filler = FILL_FILLER_WRITEV, .thp = FILL_THP_NEVER};
	struct fill_result result;
	int r;

	if (!evacuation->dropped)
		return 0;
	r = pages_fill(&evacuation->plan.map, gen_fd, &options, &result, err);
	if (r < 0)
		return r;
	r = recovery_note_refilled(journal);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note what is refilled");
	evacuation->dropped = false;
	return steps_fault("refilled", err);
}

void evacuation_done(struct evacuation *evacuation)
{
	pages_plan_done(&evacuation->plan);
	*evacuation = (struct evacuation){0};
}
