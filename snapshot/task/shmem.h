/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_SHMEM_H
#define SNAP_SNAPSHOT_TASK_SHMEM_H

#include <sys/types.h>

/*
 * The device of memfds, System V segments and shared anonymous memory: the kernel's own tmpfs,
 * which nobody can mount. 0 when it cannot be found out.
 */
dev_t shmem_device(void);

#endif
