/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/drop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "common/fd.h"
#include "snapshot/pages/object.h"
#include "snapshot/steps.h"

static int punch(const struct page_space *space, const struct pages_drop *drop,
		 struct snap_error *err)
{
	snap_cleanup_close int fd = pages_object_open(space);

	if (fd < 0)
		return snap_fail(err, SNAP_E_DUMP, -fd, "cannot open shared memory of pid %d",
				 (int)space->pid);
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)drop->start,
		      (off_t)(drop->end - drop->start)) < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot drop shared memory of pid %d",
				 (int)space->pid);
	return 0;
}

static int drop_range(struct injector *injector, const struct pages_drop *drop,
		      struct snap_error *err)
{
	const uint64_t args[6] = {drop->start, drop->end - drop->start, MADV_DONTNEED};
	int64_t value;
	int r = injector_call(injector, SYS_madvise, args, &value, err);

	if (r == 0 && value < 0)
		return snap_fail(err, SNAP_E_DUMP, (int)-value,
				 "pid %d: cannot drop %" PRIx64 "-%" PRIx64, (int)injector->tid,
				 drop->start, drop->end);
	return r == 0 ? steps_fault("drop-called", err) : r;
}

/* what could not be let go has registers of ours still */
static int let_go(struct injector *injector, int r, struct snap_error *err)
{
	pid_t tid = injector->tid;
	int detached = injector_detach(injector);

	if (r < 0 || detached >= 0 || detached == -ESRCH)
		return r;
	return snap_fail(err, SNAP_E_DUMP, -detached, "cannot let thread %d go", (int)tid);
}

int pages_drop(const struct pages_plan *plan, injector_note_fn note, void *arg,
	       struct snap_error *err)
{
	struct injector_options options = {.note = note, .note_arg = arg};
	struct injector injector = {0};
	int r = 0;

	/* drops are in order of spaces */
	for (size_t i = 0; r == 0 && i < plan->n_drops; i++) {
		const struct page_space *space = &plan->map.spaces[plan->drops[i].space];

		if (i == plan->n_drops / 2)
			r = steps_fault("drop-half", err);
		if (r == 0 && space->kind == PAGE_SPACE_SHARED) {
			r = punch(space, &plan->drops[i], err);
			continue;
		}
		if (r == 0 && injector.tid != space->pid) {
			r = let_go(&injector, r, err);
			if (r == 0)
				r = injector_attach(space->pid, &options, &injector, err);
		}
		if (r == 0)
			r = drop_range(&injector, &plan->drops[i], err);
	}
	return let_go(&injector, r, err);
}
