/* SPDX-License-Identifier: Apache-2.0 */
/* Are our declarations of the driver's binary interface those of the toolkit's cuda.h? */

#include <stdio.h>

#ifdef SNAP_HAS_CUDA_H

#	include <cuda.h>
#	include <string.h>

#	include "snapshot/gpu/cuda_abi.h"

#	define SAME(ours, theirs)	_Static_assert((int)(ours) == (int)(theirs), #	     ours)
#	define SAME_SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), #	       ours)

SAME(GPU_RESULT_OK, CUDA_SUCCESS);
SAME(GPU_RESULT_INVALID_VALUE, CUDA_ERROR_INVALID_VALUE);
SAME(GPU_RESULT_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY);
SAME(GPU_RESULT_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED);
SAME(GPU_RESULT_NO_DEVICE, CUDA_ERROR_NO_DEVICE);
SAME(GPU_RESULT_OPERATING_SYSTEM, CUDA_ERROR_OPERATING_SYSTEM);
SAME(GPU_RESULT_ILLEGAL_STATE, CUDA_ERROR_ILLEGAL_STATE);
SAME(GPU_RESULT_NOT_READY, CUDA_ERROR_NOT_READY);
SAME(GPU_RESULT_NOT_PERMITTED, CUDA_ERROR_NOT_PERMITTED);
SAME(GPU_RESULT_NOT_SUPPORTED, CUDA_ERROR_NOT_SUPPORTED);
SAME(GPU_RESULT_DRIVER_MISMATCH, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
SAME(GPU_DEVICE_ATTRIBUTE_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(GPU_DEVICE_ATTRIBUTE_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);

#	if CUDA_VERSION >= GPU_CUDA_WITH_CHECKPOINT

SAME(GPU_STATE_RUNNING, CU_PROCESS_STATE_RUNNING);
SAME(GPU_STATE_LOCKED, CU_PROCESS_STATE_LOCKED);
SAME(GPU_STATE_CHECKPOINTED, CU_PROCESS_STATE_CHECKPOINTED);
SAME(GPU_STATE_FAILED, CU_PROCESS_STATE_FAILED);
SAME_SIZE(struct gpu_uuid, CUuuid);
SAME_SIZE(struct gpu_lock_args, CUcheckpointLockArgs);
SAME_SIZE(struct gpu_checkpoint_args, CUcheckpointCheckpointArgs);
SAME_SIZE(struct gpu_unlock_args, CUcheckpointUnlockArgs);
SAME(offsetof(struct gpu_lock_args, timeout_ms), offsetof(CUcheckpointLockArgs, timeoutMs));

#	endif

#	if CUDA_VERSION >= 13000

SAME_SIZE(struct gpu_pair, CUcheckpointGpuPair);
SAME_SIZE(struct gpu_restore_args, CUcheckpointRestoreArgs);
SAME(offsetof(struct gpu_pair, new_uuid), offsetof(CUcheckpointGpuPair, newUuid));
SAME(offsetof(struct gpu_restore_args, pairs), offsetof(CUcheckpointRestoreArgs, gpuPairs));
SAME(offsetof(struct gpu_restore_args, n_pairs), offsetof(CUcheckpointRestoreArgs, gpuPairsCount));

#	endif

int main(void)
{
	printf("as in cuda.h of CUDA %d.%d\n", CUDA_VERSION / 1000, CUDA_VERSION % 1000 / 10);
	return 0;
}

#else

int main(void)
{
	puts("SKIP: no cuda.h is installed (CUDA toolkit 12.8 or later)");
	return 77;
}

#endif
