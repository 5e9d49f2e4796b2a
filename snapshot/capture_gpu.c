/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/capture_gpu.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "snapshot/elf.h"
#include "snapshot/gpu/devices.h"
#include "snapshot/gpu/processes.h"
#include "snapshot/task/tree.h"

#define BUILD_ID_SIZE 41

static int note_library(struct manifest_gpu *manifest, const char *path, struct snap_error *err)
{
	char build_id[BUILD_ID_SIZE] = "";
	int r = elf_build_id(path, build_id, sizeof(build_id));

	if (r < 0 && r != -ENODATA)
		return snap_fail(err, SNAP_E_GPU, -r, "cannot read '%s'", path);
	manifest->mode = strdup("staging");
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
	if (r == 0)
		r = gpu_processes_library(&tree, gpu->library, err);
	if (r <= 0)
		return r;
	if (gpu_driver_open(gpu->library, &gpu->driver, &gpu->why) < 0)
		return 0;
	gpu->used = true;
	return gpu_driver_start(&gpu->driver, err);
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
	r = gpu_processes_find(&gpu->driver, &tree, &manifest->processes, &manifest->n_processes,
			       err);
	if (r < 0)
		return r;
	gpu->pids = calloc(manifest->n_processes + 1, sizeof(*gpu->pids));
	if (!gpu->pids)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; i < manifest->n_processes; i++)
		gpu->pids[i] = manifest->processes[i].pid;
	return 0;
}

int capture_gpu_await(struct capture_gpu *gpu, pid_t root, uint64_t deadline_ns,
		      struct snap_error *err)
{
	struct manifest_gpu *manifest = gpu->checkpoint.manifest;
	int r;

	if (!gpu->used)
		return 0;
	r = find(gpu, root, err);
	if (r < 0)
		return r;
	gpu->used = manifest->n_processes > 0;
	if (!gpu->used)
		return 0;
	r = gpu_driver_wait(&gpu->driver, deadline_ns, err);
	if (r == 0)
		r = gpu_devices_list(&gpu->driver, &manifest->devices, &manifest->n_devices, err);
	manifest->cuda = (uint32_t)gpu->driver.version;
	return r == 0 ? note_library(manifest, gpu->library, err) : r;
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
	r = recovery_note_gpu(journal, gpu->checkpoint.manifest);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the GPU's processes");
	return gpu_checkpoint_lock(&gpu->checkpoint, timeout_ms, err);
}

void capture_gpu_done(struct capture_gpu *gpu)
{
	gpu_driver_close(&gpu->driver);
	free(gpu->pids);
	*gpu = (struct capture_gpu){0};
}
