/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_USER_CONTAINER_H
#define SNAP_CLI_USER_CONTAINER_H

/*
 * The container that `create` and `run` make for who is not root (cli/container.c), for questions
 * whose answer is another one in there: what is allowed, whose files are whose.
 */

#include <stdbool.h>

#include "common/error.h"
#include "snapshot/manifest.h"

/* the rights here allow nothing, and a user namespace that would allow it can be made */
bool user_container_is_needed(const struct fingerprint *here);

/*
 * Run fn as root and PID 1 of a user, pid and mount namespace with a fresh /proc. What it returns
 * (0 to 255, or negative with err filled in) is the result, and so is what it prints; nothing else
 * comes back.
 */
int user_container_run(int (*fn)(void *arg, struct snap_error *err), void *arg,
		       struct snap_error *err);

#endif
