/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_WORKER_AMBIENT_H
#define SNAP_WORKER_AMBIENT_H

#include "common/error.h"

/*
 * A worker that is not root has its rights from file capabilities, which end at the next exec.
 * CRIU runs below it and needs them: raise what CRIU can use (CHECKPOINT_RESTORE, SETPCAP,
 * SYS_PTRACE, those we hold) to ambient. For root there is nothing to do.
 */
int ambient_raise(struct snap_error *err);

#endif
