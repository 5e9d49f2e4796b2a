/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_CUDA_ABI_H
#define SNAP_SNAPSHOT_GPU_CUDA_ABI_H

/*
 * The part of NVIDIA's driver API that we call, as its binary interface: numbers and layouts of
 * cuda.h (CUDA 12.8 and later), so that no toolkit is needed to build. Where one is installed,
 * tests/unit/gpu/test_cuda_abi.c compares.
 */

#include <stddef.h>
#include <stdint.h>

/* CUresult: those that we tell apart */
enum gpu_result {
	GPU_RESULT_OK = 0,
	GPU_RESULT_INVALID_VALUE = 1,
	GPU_RESULT_OUT_OF_MEMORY = 2,
	GPU_RESULT_NOT_INITIALIZED = 3,
	GPU_RESULT_NO_DEVICE = 100,
	GPU_RESULT_OPERATING_SYSTEM = 304,
	GPU_RESULT_ILLEGAL_STATE = 401,
	GPU_RESULT_NOT_READY = 600,
	GPU_RESULT_NOT_PERMITTED = 800,
	GPU_RESULT_NOT_SUPPORTED = 801,
	GPU_RESULT_DRIVER_MISMATCH = 803,
};

/* CUprocessState; an open list: later drivers have more */
enum gpu_state {
	GPU_STATE_RUNNING = 0,
	GPU_STATE_LOCKED = 1,
	GPU_STATE_CHECKPOINTED = 2,
	GPU_STATE_FAILED = 3,
	GPU_STATE_CHECKPOINTING = 4, /* CUDA 13.4: its device memory is the caller's to copy */
	GPU_STATE_RESTORING = 5,
};

struct gpu_uuid {
	unsigned char bytes[16];
};

struct gpu_lock_args {
	uint32_t timeout_ms; /* 0 waits for ever */
	uint32_t reserved0;
	uint64_t reserved1[7];
};

/*
 * CustomStorage of CUDA 13.4: all device memory of a process on one GPU, mapped into the caller's;
 * copies go by the stream
 */
struct gpu_storage_device {
	uint64_t address;
	size_t bytes;
	void *stream;
};

/* the driver's, from the call that gives it until the operation is complete */
struct gpu_storage_info {
	void *handle;
	struct gpu_storage_device *devices;
	uint32_t n_devices;
};

struct gpu_checkpoint_args {
	struct gpu_storage_info **ret_info; /* NULL: the driver copies, into the process */
	char reserved[56];
};

/* a GPU that the process had at its checkpoint, and the one that it gets */
struct gpu_pair {
	struct gpu_uuid old_uuid;
	struct gpu_uuid new_uuid;
};

struct gpu_restore_args {
	struct gpu_pair *pairs; /* NULL: each GPU is the one that it was; else all are named */
	uint32_t n_pairs;
	uint32_t pad;
	struct gpu_storage_info **ret_info; /* NULL: the driver has what it needs */
	char reserved[40];
};

struct gpu_unlock_args {
	uint64_t reserved[8];
};

_Static_assert(sizeof(struct gpu_lock_args) == 64, "lock args");
_Static_assert(sizeof(struct gpu_checkpoint_args) == 64, "checkpoint args");
_Static_assert(sizeof(struct gpu_pair) == 32, "GPU pair");
_Static_assert(sizeof(struct gpu_restore_args) == 64, "restore args");
_Static_assert(offsetof(struct gpu_restore_args, n_pairs) == 8, "restore args");
_Static_assert(offsetof(struct gpu_restore_args, ret_info) == 16, "restore args");
_Static_assert(sizeof(struct gpu_storage_device) == 24, "device of a storage");
_Static_assert(sizeof(struct gpu_storage_info) == 24, "storage");
_Static_assert(sizeof(struct gpu_unlock_args) == 64, "unlock args");

#define GPU_CUDA_WITH_CHECKPOINT 12080 /* the first version with the checkpoint calls */
#define GPU_CUDA_WITH_STORAGE	 13040 /* … with CustomStorage */

#define GPU_DEVICE_ATTRIBUTE_MAJOR 75 /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR */
#define GPU_DEVICE_ATTRIBUTE_MINOR 76

#endif
