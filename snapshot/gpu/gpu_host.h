/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_GPU_HOST_H
#define SNAP_SNAPSHOT_GPU_GPU_HOST_H

/*
 * The GPUs of this host in milliseconds, without starting the CUDA driver: NVIDIA's management
 * library (NVML) tells what they are and what of their memory is free. Its order is that of the
 * PCI bus.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define GPU_HOST_DEVICES_MAX 64
#define GPU_HOST_NAME_MAX    96 /* NVML_DEVICE_NAME_V2_BUFFER_SIZE */

struct gpu_host_device {
	char uuid[33]; /* hex */
	char name[GPU_HOST_NAME_MAX];
	uint32_t compute; /* 90: compute capability 9.0 */
	uint64_t memory_bytes;
	uint64_t free_bytes;
	bool mig; /* divided into instances */
};

struct gpu_host {
	char driver[80]; /* "580.159.04" */
	struct gpu_host_device devices[GPU_HOST_DEVICES_MAX];
	size_t n;
};

#define GPU_HOST_MS 5000U /* for NVML: it starts in some 20 ms where GPUs are kept awake */

/*
 * NVML is looked for beside the CUDA driver at libcuda; NULL: where this host's libraries are, for
 * who must not load what somebody else names. SNAP_E_GPU: -ENOENT when there is none (a container
 * without the driver's "utility" part), -ETIMEDOUT, -EIO with what it says.
 */
int gpu_host_take(const char *libcuda, uint64_t deadline_ns, struct gpu_host *ret,
		  struct snap_error *err);

/* does a Multi-Process Service own the GPUs, as far as a client can see? */
bool gpu_host_has_mps(void);

#endif
