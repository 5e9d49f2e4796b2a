/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_RESIDENCE_H
#define SNAP_SNAPSHOT_TASK_RESIDENCE_H

#include <stdint.h>

#include "snapshot/task/tree.h"

/*
 * Bytes of memory that no file has, which is what a snapshot stores at most: anonymous and shared
 * memory, swapped out or not; what processes share counts once. Where the kernel does not tell it
 * apart (before 5.4, or not to us), all that is resident.
 */
uint64_t residence_bytes(const struct task_tree *tree);

#endif
