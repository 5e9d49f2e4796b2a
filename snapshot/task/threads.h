/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_THREADS_H
#define SNAP_SNAPSHOT_TASK_THREADS_H

/* The threads of a process, those included that have ended and are not reaped yet. */

#include <sys/types.h>

/* call fn for each thread of pid; stops at the first non-zero and returns it; -ESRCH: gone */
typedef int (*threads_fn)(pid_t tid, void *arg);
int threads_each(pid_t pid, threads_fn fn, void *arg);

#endif
