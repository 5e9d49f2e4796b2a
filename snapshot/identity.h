/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_IDENTITY_H
#define SNAP_SNAPSHOT_IDENTITY_H

/* For whom a start is: command, folder, user, groups, environment. A snapshot serves one identity.
 */

#include <stdbool.h>

#include "snapshot/manifest.h"

/*
 * argv, cwd, ids, groups and environment of the start at hand. The environment's ignore list
 * (docs/formats/manifest.md 3.2) leaves out what differs between instances by nature. salt NULL:
 * make a fresh one (capture); else use it (wake).
 */
int identity_take(char *const *argv, char *const *envp, const char *adapter, const char *salt,
		  struct manifest_identity *ret, struct snap_error *err);

void identity_done(struct manifest_identity *identity);

/* is the variable of that name on the ignore list? */
bool identity_ignores_env(const char *name);

#endif
