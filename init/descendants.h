/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_DESCENDANTS_H
#define SNAP_INIT_DESCENDANTS_H

/*
 * Everything below us: killed after a failed wake, told apart from the engine's tree after a
 * failed capture. A process whose chain of parents ends at pid 0 was put into our pid namespace
 * from outside and is not ours.
 */

#include <stdint.h>
#include <sys/types.h>

/* what a sweep leaves alone; all zero: nothing */
struct descendants_spare {
	pid_t root;	/* this process, everything below it, and its session */
	uint64_t since; /* processes that started before this tick (procfs_stat) */
};

/*
 * KILL every descendant that is not spared. The number that was still there (killed or dying
 * now; zombies do not count, unless threads of theirs are left), or -errno. 0 means: none is left.
 * Call again after every SIGCHLD until it is 0: a process may fork behind the scan, but its child
 * stays below us and is found by the next one.
 */
int descendants_kill(const struct descendants_spare *spare);

/* how many that would reach; nobody is signalled */
int descendants_count(const struct descendants_spare *spare);

/*
 * KILL what a dead worker left of its session: CRIU, and what CRIU forked, which no death signal
 * reaches. The worker leads a session of its own, and the engine never runs in it.
 */
void descendants_kill_session(pid_t session);

/* send sig to root, everything below it and its session; the number reached or -errno */
int descendants_signal_tree(pid_t root, int sig);

/* ask all below us to end: TERM, and CONT for those that stand still; how many, or -errno */
int descendants_ask(void);

#endif
