/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/restore_gpu.h"

#include <errno.h>

#include "snapshot/gpu/devices.h"

int restore_gpu_start(struct restore_gpu *gpu, struct manifest_gpu *manifest,
		      struct snap_error *err)
{
	int r;

	if (!manifest->mode)
		return 0;
	gpu->checkpoint.driver = &gpu->driver;
	gpu->checkpoint.manifest = manifest;
	r = gpu_driver_open(manifest->library, &gpu->driver, err);
	return r == 0 ? gpu_driver_start(&gpu->driver, err) : r;
}

static int pair(struct restore_gpu *gpu, struct gpu_pair pairs[GPU_PAIRS_MAX], uint32_t *ret_n,
		struct snap_error *err)
{
	const struct manifest_gpu *then = gpu->checkpoint.manifest;
	struct manifest_gpu_device *devices;
	size_t n;
	int r = gpu_devices_list(&gpu->driver, &devices, &n, err);

	if (r < 0)
		return r;
	if (n != then->n_devices)
		r = snap_fail_plain(err, SNAP_E_INCOMPATIBLE, ENODEV,
				    "%zu GPUs here, captured on %zu", n, then->n_devices);
	else if (gpu_devices_pair(then, devices, pairs, GPU_PAIRS_MAX, ret_n) < 0)
		r = snap_fail_plain(err, SNAP_E_INCOMPATIBLE, E2BIG, "more than %d GPUs",
				    GPU_PAIRS_MAX);
	gpu_devices_free(devices, n);
	return r;
}

int restore_gpu_run(struct restore_gpu *gpu, uint64_t deadline_ns, struct snap_error *err)
{
	struct gpu_pair pairs[GPU_PAIRS_MAX];
	uint32_t n_pairs = 0;
	int r;

	if (!gpu->checkpoint.manifest)
		return 0;
	r = gpu_driver_wait(&gpu->driver, deadline_ns, err);
	if (r == 0)
		r = pair(gpu, pairs, &n_pairs, err);
	if (r < 0)
		return r;
	gpu->touched = true;
	gpu->checkpoint.checkpointed = true;
	gpu->checkpoint.stopped = true;
	r = gpu_checkpoint_restore(&gpu->checkpoint, pairs, n_pairs, err);
	return r == 0 ? gpu_checkpoint_unlock(&gpu->checkpoint, err) : r;
}

void restore_gpu_undo(struct restore_gpu *gpu)
{
	/* it may run already: the step after ours continues it */
	gpu->checkpoint.stopped = false;
	if (gpu->touched)
		gpu_checkpoint_put_away(&gpu->checkpoint);
	gpu->touched = false;
}

void restore_gpu_done(struct restore_gpu *gpu)
{
	gpu_driver_close(&gpu->driver);
	*gpu = (struct restore_gpu){0};
}
