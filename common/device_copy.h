/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_DEVICE_COPY_H
#define SNAP_COMMON_DEVICE_COPY_H

/*
 * How long a GPU's driver may take to copy device memory into a process, or back: who waits for
 * that adds it to what the rest may take. At half the rate of the slowest that others have measured
 * (pageable memory over an old bus); beyond 150 GiB nobody waits longer.
 */

#include <stdint.h>

#define DEVICE_COPY_MS_PER_GIB 2000U
#define DEVICE_COPY_MAX_MS     300000U

/* 0: nothing, or nobody knows how much it is */
uint64_t device_copy_ms(uint64_t bytes);

#endif
