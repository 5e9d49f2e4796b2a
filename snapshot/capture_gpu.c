/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/capture_gpu.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/procfs.h"
#include "snapshot/elf.h"
#include "snapshot/gpu/devices.h"
#include "snapshot/gpu/gpu_host.h"
#include "snapshot/gpu/processes.h"
#include "snapshot/task/tree.h"

#define BUILD_ID_SIZE  41
#define FROZEN_HOST_MS 1000U /* for NVML while the tree stands still */
#define ASK_MS	       5000U /* for what the driver tells without doing anything */

static int note_device(const struct gpu_host_device *device, struct manifest_gpu_device *ret)
{
	memcpy(ret->uuid, device->uuid, sizeof(ret->uuid));
	ret->compute = device->compute;
	ret->memory_bytes = device->memory_bytes;
	ret->name = strdup(device->name);
	return ret->name ? 0 : -ENOMEM;
}

static int note_host(struct manifest_gpu *manifest, const struct gpu_host *host)
{
	manifest->driver = strdup(host->driver);
	manifest->devices = calloc(host->n + 1, sizeof(*manifest->devices));
	if (!manifest->driver || !manifest->devices)
		return -ENOMEM;
	for (size_t i = 0; i < host->n; i++) {
		int r = note_device(&host->devices[i], &manifest->devices[i]);

		if (r < 0)
			return r;
		manifest->n_devices = i + 1;
	}
	return 0;
}

/* by NVML, in the order of the bus, else by the driver, in an order that the environment decides */
static int describe_devices(struct capture_gpu *gpu, struct snap_error *err)
{
	struct manifest_gpu *manifest = gpu->checkpoint.manifest;

	gpu->host = malloc(sizeof(*gpu->host));
	if (!gpu->host)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	if (gpu_host_take(gpu->library, deadline_after_ms(GPU_HOST_MS), gpu->host, NULL) < 0) {
		free(gpu->host);
		gpu->host = NULL;
		manifest->driver = strdup("");
		if (!manifest->driver)
			return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
		return gpu_devices_list(&gpu->driver, deadline_after_ms(ASK_MS), &manifest->devices,
					&manifest->n_devices, err);
	}
	for (size_t i = 0; i < gpu->host->n; i++) {
		if (gpu->host->devices[i].mig)
			return snap_fail_plain(err, SNAP_E_UNSNAPSHOTABLE, ENOSYS,
					       "GPU %zu is divided into instances (MIG), which the "
					       "driver cannot checkpoint",
					       i);
	}
	return note_host(manifest, gpu->host) == 0
		       ? 0
		       : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}

/* what a checkpoint has given back is what a restore will need */
static void note_used(struct capture_gpu *gpu)
{
	const struct manifest_gpu *manifest = gpu->checkpoint.manifest;
	snap_cleanup_free struct gpu_host *now = malloc(sizeof(*now));

	if (!gpu->host || !now ||
	    gpu_host_take(gpu->library, deadline_after_ms(FROZEN_HOST_MS), now, NULL) < 0)
		return;
	for (size_t i = 0; i < now->n && i < manifest->n_devices; i++) {
		uint64_t before = gpu->host->devices[i].free_bytes;
		uint64_t after = now->devices[i].free_bytes;

		manifest->devices[i].used_bytes = after > before ? after - before : 0;
	}
}

int capture_gpu_take(struct capture_gpu *gpu, struct snap_error *err)
{
	int r = gpu_checkpoint_take(&gpu->checkpoint, err);

	if (r == 0)
		note_used(gpu);
	return r;
}

static int note_library(struct manifest_gpu *manifest, const char *path, bool by_storage,
			struct snap_error *err)
{
	char build_id[BUILD_ID_SIZE] = "";
	int r = elf_build_id(path, build_id, sizeof(build_id));

	if (r < 0 && r != -ENODATA)
		return snap_fail(err, SNAP_E_GPU, -r, "cannot read '%s'", path);
	manifest->mode = strdup(by_storage ? "storage" : "staging");
	manifest->library = strdup(path);
	manifest->library_build_id = strdup(build_id);
	if (!manifest->mode || !manifest->library || !manifest->library_build_id)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	return 0;
}

/* a driver that cannot be used matters only if somebody uses it: the audit will find their devices
 */
int capture_gpu_start(struct capture_gpu *gpu, pid_t root, struct manifest_gpu *manifest,
		      struct snap_error *err)
{
	snap_cleanup(task_tree_done) struct task_tree tree = {0};
	int r = task_tree_collect(root, &tree, err);

	gpu->checkpoint.driver = &gpu->driver;
	gpu->checkpoint.manifest = manifest;
	if (r < 0)
		return r;
	r = gpu_processes_library(&tree, gpu->library, &gpu->why);
	if (r < 0 && r != -ESTALE && err)
		*err = gpu->why;
	if (r <= 0)
		return r == -ESTALE ? 0 : r;
	if (gpu_driver_open(gpu->library, &gpu->driver, &gpu->why) < 0)
		return 0;
	gpu->used = true;
	gpu->checkpoint.by_storage = gpu->by_storage;
	return gpu_driver_start(&gpu->driver,
				gpu->by_storage && gpu_driver_has_storage(&gpu->driver), err);
}

/* in a process that somebody has stopped the driver's own thread is stopped as well */
static int check_runs(const struct manifest_gpu_process *process, struct snap_error *err)
{
	struct proc_stat stat;

	if (procfs_stat(process->pid, &stat) < 0 || stat.state != 'T')
		return 0;
	return snap_fail_plain(err, SNAP_E_UNSNAPSHOTABLE, EBUSY,
			       "pid %d (%s) uses CUDA and is stopped (SIGSTOP), so that the driver "
			       "cannot lock it; continue it",
			       (int)process->pid, stat.comm);
}

static int find(struct capture_gpu *gpu, pid_t root, struct snap_error *err)
{
	struct manifest_gpu *manifest = gpu->checkpoint.manifest;
	snap_cleanup(task_tree_done) struct task_tree tree = {0};
	int r = task_tree_collect(root, &tree, err);

	if (r < 0)
		return r;
	free(manifest->processes);
	free(gpu->pids);
	manifest->processes = NULL;
	manifest->n_processes = 0;
	gpu->pids = NULL;
	r = gpu_processes_find(&gpu->driver, &tree, deadline_after_ms(ASK_MS), &manifest->processes,
			       &manifest->n_processes, err);
	if (r < 0)
		return r;
	gpu->pids = calloc(manifest->n_processes + 1, sizeof(*gpu->pids));
	if (!gpu->pids)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < manifest->n_processes; i++) {
		gpu->pids[i] = manifest->processes[i].pid;
		r = check_runs(&manifest->processes[i], err);
	}
	return r;
}

int capture_gpu_await(struct capture_gpu *gpu, pid_t root, uint64_t deadline_ns,
		      struct snap_error *err)
{
	struct manifest_gpu *manifest = gpu->checkpoint.manifest;
	int r = 0;

	/* many an engine loads it at its first request, which was ours */
	if (!gpu->used && gpu->library[0] == '\0')
		r = capture_gpu_start(gpu, root, manifest, err);
	if (r < 0 || !gpu->used)
		return r;
	r = find(gpu, root, err);
	if (r < 0)
		return r;
	gpu->used = manifest->n_processes > 0;
	if (!gpu->used)
		return 0;
	if (gpu_host_has_mps())
		return snap_fail_plain(
			err, SNAP_E_UNSNAPSHOTABLE, ENOSYS,
			"a Multi-Process Service (MPS) has the GPU, which the driver "
			"cannot checkpoint then; stop it");
	if (gpu->by_storage && !gpu_driver_has_storage(&gpu->driver))
		return snap_fail_plain(
			err, SNAP_E_UNSNAPSHOTABLE, ENOSYS,
			"--gpu-mode storage: the CUDA driver is of version %d.%d and has no "
			"CustomStorage; 13.4 (driver 615) or later is needed",
			gpu->driver.version / 1000, gpu->driver.version % 1000 / 10);
	r = gpu_driver_wait(&gpu->driver, deadline_ns, err);
	if (r == 0)
		r = describe_devices(gpu, err);
	manifest->cuda = (uint32_t)gpu->driver.version;
	return r == 0 ? note_library(manifest, gpu->library, gpu->by_storage, err) : r;
}

/* what is in use on the GPUs, by whomever */
uint64_t capture_gpu_device_bytes(const struct capture_gpu *gpu)
{
	uint64_t bytes = 0;

	for (size_t i = 0; gpu->host && i < gpu->host->n; i++)
		bytes += gpu->host->devices[i].memory_bytes - gpu->host->devices[i].free_bytes;
	return bytes;
}

uint64_t capture_gpu_freezes(const struct capture_gpu *gpu)
{
	uint64_t bytes = capture_gpu_device_bytes(gpu);

	if (!gpu->used)
		return 0;
	return bytes > 0 ? bytes : 1;
}

static int note_saved(void *arg, struct snap_error *err)
{
	const struct capture_gpu *gpu = arg;
	const struct capture_gpu_place *place = &gpu->place;
	int r = recovery_note_devices(place->journal, place->store_path, place->generation,
				      gpu->checkpoint.manifest);

	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note what is saved") : 0;
}

int capture_gpu_reserve(struct capture_gpu *gpu, const struct capture_gpu_place *place,
			struct snap_error *err)
{
	if (!gpu->used || !gpu->by_storage)
		return 0;
	gpu->place = *place;
	gpu->files = (struct device_files){
		.gen_fd = place->gen_fd,
		.compress = place->compress,
		/* it was written just now */
		.fill = {.direct = FILL_DIRECT_OFF},
		.note = note_saved,
		.arg = gpu,
	};
	gpu->checkpoint.content = device_files_content(&gpu->files);
	return device_files_reserve(&gpu->files, capture_gpu_device_bytes(gpu), err);
}

int capture_gpu_lock(struct capture_gpu *gpu, pid_t root, uint32_t timeout_ms,
		     const struct recovery_journal *journal, struct snap_error *err)
{
	int r;

	if (!gpu->used)
		return 0;
	r = find(gpu, root, err);
	if (r < 0)
		return r;
	if (gpu->checkpoint.manifest->n_processes == 0)
		return snap_fail_plain(err, SNAP_E_GPU, ESRCH,
				       "the processes that used CUDA have ended");
	/* until the checkpoint tells better: whoever waits for a copy waits long enough */
	for (size_t i = 0; i < gpu->checkpoint.manifest->n_processes; i++)
		gpu->checkpoint.manifest->processes[i].staging_bytes =
			capture_gpu_device_bytes(gpu);
	r = recovery_note_gpu(journal, gpu->checkpoint.manifest);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the GPU's processes");
	return gpu_checkpoint_lock(&gpu->checkpoint, timeout_ms, err);
}

void capture_gpu_done(struct capture_gpu *gpu)
{
	/*
	 * What is begun and not loaded stays so: completed, it would be locked with foreign memory,
	 * and the recovery that is due would take it for sound.
	 */
	gpu_checkpoint_done(&gpu->checkpoint);
	device_files_done(&gpu->files);
	gpu_driver_close(&gpu->driver);
	free(gpu->pids);
	free(gpu->host);
	*gpu = (struct capture_gpu){0};
}
