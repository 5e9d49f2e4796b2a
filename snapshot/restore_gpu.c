/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/restore_gpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

int restore_gpu_start(struct restore_gpu *gpu, struct manifest_gpu *manifest,
		      struct snap_error *err)
{
	int r;

	if (!manifest->mode)
		return 0;
	gpu->checkpoint.driver = &gpu->driver;
	gpu->checkpoint.manifest = manifest;
	/* the driver is to see all GPUs, whatever the engine may use: pairs name every one */
	(void)unsetenv("CUDA_VISIBLE_DEVICES");
	(void)unsetenv("CUDA_DEVICE_ORDER");
	gpu->checkpoint.by_storage = manifest_has_device_files(manifest);
	r = gpu_driver_open(manifest->library, &gpu->driver, err);
	if (r < 0)
		return r;
	if (gpu->checkpoint.by_storage && !gpu_driver_has_storage(&gpu->driver))
		return snap_fail_plain(
			err, SNAP_E_GPU, ENOSYS,
			"the snapshot's device memory is for CustomStorage (gpu.mode storage), "
			"which the CUDA driver of version %d.%d has not",
			gpu->driver.version / 1000, gpu->driver.version % 1000 / 10);
	return gpu_driver_start(&gpu->driver, gpu->checkpoint.by_storage, err);
}

/* of a checked manifest, or of gpu_host_take() */
static void parse_uuid(const char *hex, struct gpu_uuid *ret)
{
	for (size_t i = 0; i < sizeof(ret->bytes); i++) {
		char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

		ret->bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
	}
}

/*
 * Which GPU of then is which of now: by their place on the bus. None are named where all are the
 * same, or where the bus cannot be asked.
 */
static uint32_t pair(const struct manifest_gpu *then, const struct gpu_host *now,
		     struct gpu_pair pairs[GPU_PAIRS_MAX])
{
	bool same = true;

	/* somebody accepted that this is another host: the driver itself says what it makes of it
	 */
	if (!now || now->n != then->n_devices)
		return 0;
	for (size_t i = 0; i < now->n; i++) {
		same &= strcmp(then->devices[i].uuid, now->devices[i].uuid) == 0;
		parse_uuid(then->devices[i].uuid, &pairs[i].old_uuid);
		parse_uuid(now->devices[i].uuid, &pairs[i].new_uuid);
	}
	return same ? 0 : (uint32_t)now->n;
}

/* where the gate was not to look */
static int find_host(struct restore_gpu *gpu, struct snap_error *err)
{
	const struct manifest_gpu *then = gpu->checkpoint.manifest;

	if (gpu->host || then->driver[0] == '\0')
		return 0;
	gpu->host = malloc(sizeof(*gpu->host));
	if (!gpu->host)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	if (gpu_host_take(then->library, deadline_after_ms(GPU_HOST_MS), gpu->host, NULL) < 0) {
		free(gpu->host);
		gpu->host = NULL;
	}
	return 0;
}

int restore_gpu_run(struct restore_gpu *gpu, uint64_t deadline_ns, struct snap_error *err)
{
	struct gpu_pair pairs[GPU_PAIRS_MAX];
	uint32_t n_pairs;
	int r;

	if (!gpu->checkpoint.manifest)
		return 0;
	r = gpu_driver_wait(&gpu->driver, deadline_ns, err);
	if (r == 0)
		r = find_host(gpu, err);
	if (r < 0)
		return r;
	n_pairs = pair(gpu->checkpoint.manifest, gpu->host, pairs);
	gpu->touched = true;
	gpu->checkpoint.checkpointed = true;
	gpu->checkpoint.stopped = true;
	gpu->checkpoint.content = device_files_content(&gpu->files);
	r = gpu_checkpoint_restore(&gpu->checkpoint, pairs, n_pairs, err);
	return r == 0 ? gpu_checkpoint_unlock(&gpu->checkpoint, err) : r;
}

void restore_gpu_undo(struct restore_gpu *gpu)
{
	/* it may run already: the step after ours continues it */
	gpu->checkpoint.stopped = false;
	if (gpu->touched)
		gpu->touched =
			gpu_checkpoint_put_away(
				&gpu->checkpoint,
				deadline_after_ms(gpu_put_away_ms(&gpu->checkpoint)), NULL) < 0;
}

void restore_gpu_done(struct restore_gpu *gpu)
{
	gpu_checkpoint_done(&gpu->checkpoint);
	device_files_done(&gpu->files);
	gpu_driver_close(&gpu->driver);
	free(gpu->host);
	*gpu = (struct restore_gpu){0};
}
