/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_DEVICES_H
#define SNAP_SNAPSHOT_GPU_DEVICES_H

/* The GPUs of this host as the CUDA driver tells them. */

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/gpu/driver.h"
#include "snapshot/manifest.h"

/*
 * The driver has started (gpu_driver_wait()); *ret is the caller's to gpu_devices_free().
 * -ETIMEDOUT: it has not told all by deadline_ns.
 */
int gpu_devices_list(const struct gpu_driver *driver, uint64_t deadline_ns,
		     struct manifest_gpu_device **ret, size_t *ret_n, struct snap_error *err);
void gpu_devices_free(struct manifest_gpu_device *devices, size_t n);

#endif
