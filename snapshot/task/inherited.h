/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_INHERITED_H
#define SNAP_SNAPSHOT_TASK_INHERITED_H

/*
 * Mappings that a fork has handed on. CRIU (4.2.1, check_cow_vmas() in its mem.c) gives a child a
 * private mapping that its parent has from the same start to the same end by a fork of the restored
 * parent, so that both share its pages. The mapping then has the parent's protection and
 * PROT_WRITE, which CRIU's restorer leaves alone where the child may write, and it is not locked: a
 * fork hands no lock on. What parent and child really have may differ, and they need not even be
 * related: two processes of one program often map small things at the same place.
 *
 * At a capture the mappings that could come back wrong are noted, at a wake they are put right.
 * Nothing is noted, and nothing done at a wake, for a tree of one process.
 */

#include <stddef.h>

#include "snapshot/manifest.h"
#include "snapshot/task/tree.h"

/* fills mappings of m, which is empty, from the tree in group-stop */
int inherited_collect(const struct task_tree *tree, struct manifest *m, struct snap_error *err);

struct inherited_result {
	size_t left;   /* mappings that could not be put right */
	char why[160]; /* the first of them, "" if left is 0 */
};

/*
 * mprotect and mlock2 in the restored tree, which is stopped. What is forbidden there is left as
 * CRIU made it, which is no failure; negative errno: a thread was lost in the middle of a call.
 */
int inherited_restore(const struct manifest *m, struct inherited_result *ret,
		      struct snap_error *err);

#endif
