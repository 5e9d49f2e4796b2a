/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_DROP_H
#define SNAP_SNAPSHOT_PAGES_DROP_H

#include "common/error.h"
#include "snapshot/pages/plan.h"
#include "snapshot/task/injector.h"

/*
 * Take the stored pages out of the stopped tree: MADV_DONTNEED by injected system calls, holes
 * punched into shared objects. note and arg: see struct injector. On failure some of it is
 * dropped: refill.
 */
int pages_drop(const struct pages_plan *plan, injector_note_fn note, void *arg,
	       struct snap_error *err);

#endif
