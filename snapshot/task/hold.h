/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_HOLD_H
#define SNAP_SNAPSHOT_TASK_HOLD_H

/*
 * Stop a whole tree with SIGSTOP and let it run again. Group-stop and not ptrace, because CRIU has
 * to attach to the tree in between, and because the stop survives our own death.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/task/tree.h"

struct task_hold {
	pid_t *stopped_before; /* processes that somebody else had stopped; stay stopped */
	size_t n_stopped_before;
};

/*
 * Stop every process below root, those born meanwhile too, and return when every thread of all of
 * them is in state T or t (zombies aside). *ret_tree is the exact tree then, the caller's to
 * task_tree_done(). A vfork child runs on until it lets go of its parent's memory, for the parent
 * cannot be stopped before. On failure (-ETIMEDOUT with pid and state of the one that does not
 * stop, -ESRCH, -EPERM …) what was stopped runs again.
 */
int task_hold_stop(pid_t root, uint64_t deadline_ns, struct task_hold *ret,
		   struct task_tree *ret_tree, struct snap_error *err);

/*
 * SIGCONT to all but those stopped before (hold NULL or empty: to all), children first. Who of them
 * is gone is no failure; -ESRCH when root is. One that cannot be continued keeps no other stopped.
 */
int task_hold_continue(pid_t root, const struct task_hold *hold, struct snap_error *err);

void task_hold_done(struct task_hold *hold); /* idempotent; stops and continues nothing */

#endif
