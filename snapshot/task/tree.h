/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_TREE_H
#define SNAP_SNAPSHOT_TASK_TREE_H

/*
 * The tree below the engine's root: every process and thread that CRIU will see. A moment's
 * picture; it is exact only while the tree is stopped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define TREE_TASKS_MAX 16384 /* processes and threads together */

struct tree_process {
	pid_t pid;
	pid_t ppid;
	pid_t pgrp;
	pid_t session;
	bool zombie;
	char comm[64];
};

struct task_tree {
	struct tree_process *processes; /* the root first */
	size_t n_processes;
	int32_t *ids; /* every pid, tid, pgrp and session above 0, sorted, once each */
	size_t n_ids;
	uint64_t resident_bytes;
	bool has_seccomp_filter;
};

/* -ESRCH when root is gone; -E2BIG beyond TREE_TASKS_MAX */
int task_tree_collect(pid_t root, struct task_tree *ret, struct snap_error *err);
void task_tree_done(struct task_tree *tree); /* idempotent */
bool task_tree_has(const struct task_tree *tree, pid_t pid);

#endif
