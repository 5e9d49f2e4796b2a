/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CRIU_RUNNABLE_H
#define SNAP_SNAPSHOT_CRIU_RUNNABLE_H

#include "common/error.h"

/*
 * A tree is in group-stop when it is dumped, and a wake sends every process SIGCONT. Whom nobody
 * sends it, has to come back running: if the open file (read and write) is a process's core image,
 * what it says of its state is changed.
 */
int runnable_make(int fd, const char *name, struct snap_error *err);

#endif
