/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_REAPER_H
#define SNAP_INIT_REAPER_H

/*
 * Dead children: looked at first, told, and only then reaped, so that whoever hears of the death
 * can still trust the pid.
 */

#include <sys/types.h>

/* status as waitpid gives it; the pid is still a zombie */
typedef void (*reaper_fn)(pid_t pid, int status, void *arg);

/* tell and reap all dead children; their number, or -errno (never -ECHILD) */
int reaper_run(reaper_fn fn, void *arg);

#endif
