/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_PROCFS_H
#define SNAP_COMMON_PROCFS_H

/* What /proc says about processes. No allocation: PID 1 uses it too. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

struct proc_stat {
	pid_t pid;
	char comm[64];
	char state; /* R S D T t Z X */
	pid_t ppid;
	pid_t pgrp;
	pid_t session;
	bool exiting;	      /* on its way out: what it held is going or gone */
	int n_threads;	      /* of a zombie above 1: the others hold what it held */
	uint64_t start_ticks; /* since boot, in clock ticks */
};

/* 0 or -errno (-ENOENT/-ESRCH when gone) */
int procfs_stat(pid_t pid, struct proc_stat *ret);

/* call fn for each pid of this pid namespace, ascending; stops at the first non-zero and returns it
 */
typedef int (*procfs_pid_fn)(pid_t pid, void *arg);
int procfs_each_pid(procfs_pid_fn fn, void *arg);

/* is pid below ancestor (a chain of parents leads there)? pid == ancestor counts as no */
bool procfs_is_descendant(pid_t pid, pid_t ancestor);

/* text after "key:" in /proc/PID/status, blanks skipped; 0 or -errno */
int procfs_status_field(pid_t pid, const char *key, char *buf, size_t size);

#endif
