/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CRIU_SHMID_H
#define SNAP_SNAPSHOT_CRIU_SHMID_H

/*
 * Under which number the images keep the content of a shared object (pagemap-shmem-NUMBER.img),
 * found by how a process reaches it: its descriptor, or its mapping.
 */

#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/* criu_fd: the folder of the images. SNAP_E_CORRUPT when they do not tell */
int shmid_of_descriptor(int criu_fd, pid_t pid, int fd, uint64_t *ret, struct snap_error *err);
int shmid_of_mapping(int criu_fd, pid_t pid, uint64_t start, uint64_t end, uint64_t *ret,
		     struct snap_error *err);

#endif
