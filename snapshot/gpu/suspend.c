/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/suspend.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/procfs.h"
#include "snapshot/gpu/driver.h"
#include "snapshot/gpu/processes.h"
#include "snapshot/task/tree.h"

#define TRACED_MS 2000U
#define LOOK_NS	  2000000

/* top is PID 1, which lives on; and we have the library too in a moment */
static void leave_out_ours(struct task_tree *tree, pid_t top)
{
	size_t kept = 0;

	for (size_t i = 0; i < tree->n_processes; i++) {
		pid_t pid = tree->processes[i].pid;

		if (pid != top && pid != getpid())
			tree->processes[kept++] = tree->processes[i];
	}
	tree->n_processes = kept;
}

static bool is_traced(const struct manifest_gpu *gpu)
{
	for (size_t i = 0; i < gpu->n_processes; i++) {
		char tracer[16];

		if (procfs_status_field((pid_t)gpu->processes[i].restore_tid, "TracerPid", tracer,
					sizeof(tracer)) == 0 &&
		    strcmp(tracer, "0") != 0)
			return true;
	}
	return false;
}

/*
 * A worker that was killed just now, in mid-restore, may not have let go yet: its threads would
 * stop under us. One that is held by a debugger is tried all the same.
 */
static void await_untraced(const struct manifest_gpu *gpu, uint64_t deadline_ns)
{
	const struct timespec pause = {.tv_nsec = LOOK_NS};
	uint64_t patience_ns = deadline_after_ms(TRACED_MS);

	while (is_traced(gpu) && clock_now_ns() < patience_ns && clock_now_ns() < deadline_ns)
		(void)nanosleep(&pause, NULL);
}

static int suspend(struct gpu_driver *driver, const struct task_tree *tree, uint64_t deadline_ns,
		   size_t *ret_n, struct snap_error *err)
{
	struct manifest_gpu gpu = {0};
	struct gpu_checkpoint checkpoint = {.driver = driver, .manifest = &gpu};
	int r = gpu_driver_start(driver, false, err);

	if (r == 0)
		r = gpu_driver_wait(driver, deadline_ns, err);
	if (r == 0)
		r = gpu_processes_find(driver, tree, deadline_ns, &gpu.processes, &gpu.n_processes,
				       err);
	if (r == 0 && gpu.n_processes > 0) {
		await_untraced(&gpu, deadline_ns);
		r = gpu_checkpoint_put_away(&checkpoint, deadline_ns, err);
	}
	*ret_n = gpu.n_processes;
	free(gpu.processes);
	return r;
}

int gpu_suspend(pid_t top, uint64_t deadline_ns, size_t *ret_n, struct snap_error *err)
{
	snap_cleanup(task_tree_done) struct task_tree tree = {0};
	struct gpu_driver driver;
	char library[PATH_MAX];
	int r = task_tree_collect(top, &tree, err);

	*ret_n = 0;
	if (r < 0)
		return r;
	leave_out_ours(&tree, top);
	r = gpu_processes_library(&tree, library, err);
	if (r <= 0)
		return r;
	/* as at a wake: the driver is to see all GPUs, whatever the engine may use */
	(void)unsetenv("CUDA_VISIBLE_DEVICES");
	(void)unsetenv("CUDA_DEVICE_ORDER");
	r = gpu_driver_open(library, &driver, err);
	if (r < 0)
		return r;
	r = suspend(&driver, &tree, deadline_ns, ret_n, err);
	gpu_driver_close(&driver);
	return r;
}
