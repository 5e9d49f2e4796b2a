/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_RESTORE_THREADS_H
#define SNAP_SNAPSHOT_GPU_RESTORE_THREADS_H

/*
 * The driver works inside its target: a thread of libcuda's there copies device memory and opens
 * and closes devices. It must run while all other threads are stopped, for one of those that made a
 * CUDA call meanwhile would crash. So the process stays in group-stop, and only this one thread is
 * seized by ptrace and continued; it may make threads, which are continued too. When it is let go,
 * or when we die, they all fall back into the group-stop.
 *
 * ptrace belongs to a thread: all of this is to be called from the same one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

struct restore_thread {
	pid_t tid;
	pid_t pid;
	bool running; /* continued, and no stop seen since */
	bool ended;
};

struct restore_threads {
	struct restore_thread *items;
	size_t n;
	size_t room;
};

/*
 * Continue thread tid of the process pid and note it. stopped: the process is in group-stop, or
 * will be in a moment, as one that CRIU has just let go; otherwise it may be, and one that is not
 * runs anyway and is left alone. -ESRCH, -EPERM (traced by somebody else), -ETIMEDOUT.
 */
int restore_threads_run(struct restore_threads *threads, pid_t pid, pid_t tid, bool stopped,
			struct snap_error *err);

/* look after their stops (signals, new threads) once, without waiting; call it every few ms */
void restore_threads_serve(struct restore_threads *threads);

/*
 * Let go of all, and wait until they are in group-stop again. -ETIMEDOUT with the thread that did
 * not stop; threads that have ended are no failure.
 */
int restore_threads_stop(struct restore_threads *threads, struct snap_error *err);

#endif
