/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_LISTENER_H
#define SNAP_CLI_LISTENER_H

/* Where a process listens for connections on a unix socket, by what /proc tells of it. */

#include <sys/types.h>

#define LISTENER_PATH_MAX 108 /* sun_path */

/*
 * The path, as the process has bound it, of the first that it listens at. 0, -ENOENT where there is
 * none, or another -errno where we may not look.
 */
int listener_path(pid_t pid, char ret[LISTENER_PATH_MAX]);

#endif
