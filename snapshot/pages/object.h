/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_OBJECT_H
#define SNAP_SNAPSHOT_PAGES_OBJECT_H

/*
 * An object of shared memory, reached through a process that has it: by descriptor, else by
 * mapping (/proc/PID/map_files, which needs CAP_CHECKPOINT_RESTORE in the first user namespace).
 * Neither changes between capture and wake.
 */

#include "snapshot/pages/map.h"

/* open it for reading and writing; the descriptor, the caller's to close, or -errno */
int pages_object_open(const struct page_space *space);

/* the same, or for private memory /proc/PID/mem; flags: O_RDONLY or O_RDWR, for the latter only */
int pages_space_open(const struct page_space *space, int flags);

#endif
