/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_XCOMP_H
#define SNAP_SNAPSHOT_TASK_XCOMP_H

/*
 * Intel's AMX. A process asks the kernel once for the permission to use tiles (arch_prctl), and a
 * thread configures them before it computes; without either a tile instruction is SIGILL. CRIU
 * restores neither. Permissions and configurations are noted at a capture and given back at a wake.
 *
 * What is in the tiles is not kept. Every call of a function may spoil it (x86-64 ABI), so nobody
 * misses it who is in a system call; a thread that stands between two of its own instructions with
 * something in its tiles makes the moment a bad one.
 *
 * Nothing happens, at no cost, where processor or kernel have no tiles.
 */

#include "snapshot/manifest.h"
#include "snapshot/task/injector.h"
#include "snapshot/task/tree.h"

/*
 * Fills xcomp and tile_configs of m, which are empty, from the tree in group-stop. -EBUSY: a thread
 * computes with tiles, try again later. note and note_arg: see struct injector; note is called for
 * every thread that has a tile configuration, which a dump loses.
 */
int xcomp_collect(const struct task_tree *tree, injector_note_fn note, void *note_arg,
		  struct manifest *m, struct snap_error *err);

/* into the tree that was captured, still in group-stop: a dump loses tile configurations as well */
int xcomp_put_configs(const struct manifest *m, struct snap_error *err);

/* permissions and configurations, into the restored tree, which is stopped */
int xcomp_restore(const struct manifest *m, struct snap_error *err);

#endif
