/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_SOCKETS_H
#define SNAP_SNAPSHOT_TASK_SOCKETS_H

/* Where a tree listens: addresses and paths that a new container must have free. */

#include "snapshot/manifest.h"
#include "snapshot/task/tree.h"

/* file-system paths that unix sockets of the tree are bound to, added to *paths */
int sockets_unix_paths(const struct task_tree *tree, struct string_list *paths,
		       struct snap_error *err);

/* listening TCP and bound UDP sockets of the tree into m->listeners */
int sockets_listeners(const struct task_tree *tree, struct manifest *m, struct snap_error *err);

#endif
