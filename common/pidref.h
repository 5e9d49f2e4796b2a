/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_PIDREF_H
#define SNAP_COMMON_PIDREF_H

/*
 * A process held by pidfd, so that a recycled pid is never signalled. Where the kernel gives no
 * pidfd the number alone is used; that is safe for our own unreaped children.
 */

#include <stdbool.h>
#include <sys/types.h>

struct pidref {
	pid_t pid; /* 0: none */
	int fd;	   /* pidfd, FD_NONE where there is none */
};

#define PIDREF_NONE ((struct pidref){.pid = 0, .fd = -9 /* FD_NONE */})

/* 0 or -errno (-ESRCH when pid is gone); takes nothing */
int pidref_open(struct pidref *ref, pid_t pid);

/* idempotent; leaves PIDREF_NONE */
void pidref_done(struct pidref *ref);

static inline bool pidref_is_set(const struct pidref *ref)
{
	return ref->pid > 0;
}

/* 0 or -errno; -ESRCH for an empty one */
int pidref_kill(const struct pidref *ref, int sig);

#endif
