/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/processes.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "snapshot/gpu/call.h"
#include "snapshot/task/procmaps.h"

static bool is_libcuda(const char *path)
{
	const char *name = strrchr(path, '/');

	return name && strncmp(name, "/libcuda.so.", strlen("/libcuda.so.")) == 0;
}

struct library {
	char path[PATH_MAX];
	bool gone; /* deleted, and perhaps another one is there by now */
};

/* what is bind-mounted from elsewhere can be deleted there and is still at its path */
static bool is_gone(const struct proc_map *map)
{
	struct stat st;

	return map->deleted && (stat(map->path, &st) < 0 || st.st_ino != map->inode);
}

static int look_for_library(struct procmaps *maps, struct library *ret)
{
	struct proc_map map;
	int r;

	while ((r = procmaps_next(maps, &map)) > 0) {
		if (!is_libcuda(map.path) || strlen(map.path) >= PATH_MAX)
			continue;
		(void)snprintf(ret->path, sizeof(ret->path), "%s", map.path);
		ret->gone = is_gone(&map);
		return 1;
	}
	return r;
}

/* 1 and *ret; 0: it has none, is gone, or is closed to us; -ENOMEM */
static int library_of(pid_t pid, struct library *ret)
{
	struct procmaps *maps = malloc(sizeof(*maps));
	int r;

	if (!maps)
		return -ENOMEM;
	r = procmaps_open(maps, pid);
	if (r == 0) {
		r = look_for_library(maps, ret);
		procmaps_close(maps);
	}
	free(maps);
	return r < 0 ? 0 : r;
}

int gpu_processes_library(const struct task_tree *tree, char ret[PATH_MAX], struct snap_error *err)
{
	struct library library;
	int found = 0;

	for (size_t i = 0; i < tree->n_processes; i++) {
		const struct tree_process *process = &tree->processes[i];
		int r = process->zombie ? 0 : library_of(process->pid, &library);

		if (r < 0)
			return snap_fail(err, SNAP_E_INTERNAL, -r,
					 "cannot look for the CUDA driver");
		if (r == 0)
			continue;
		if (library.gone)
			return snap_fail_plain(
				err, SNAP_E_UNSNAPSHOTABLE, ESTALE,
				"pid %d (%s) has the CUDA driver '%s' loaded, which was "
				"deleted or replaced since (an update of the driver?); "
				"start the engine again",
				(int)process->pid, process->comm, library.path);
		if (found && strcmp(ret, library.path) != 0)
			return snap_fail_plain(err, SNAP_E_UNSNAPSHOTABLE, EXDEV,
					       "the engine has two CUDA drivers loaded: '%s' and "
					       "'%s'; only one can be worked with",
					       ret, library.path);
		memcpy(ret, library.path, sizeof(library.path));
		found = 1;
	}
	return found;
}

static int by_pid(const void *a, const void *b)
{
	const struct manifest_gpu_process *x = a, *y = b;

	return (x->pid > y->pid) - (x->pid < y->pid);
}

int gpu_processes_find(const struct gpu_driver *driver, const struct task_tree *tree,
		       uint64_t deadline_ns, struct manifest_gpu_process **ret, size_t *ret_n,
		       struct snap_error *err)
{
	struct manifest_gpu_process *items = calloc(tree->n_processes + 1, sizeof(*items));
	size_t n = 0;

	if (!items)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; i < tree->n_processes; i++) {
		const struct tree_process *process = &tree->processes[i];
		int tid = 0, r;

		if (process->zombie)
			continue;
		/* the call tells a process with CUDA from one without; its state does not */
		r = gpu_call_find(driver, process->pid, deadline_ns, &tid, err);
		if (r < 0) {
			free(items);
			return r;
		}
		if (r == 1)
			items[n++] = (struct manifest_gpu_process){.pid = process->pid,
								   .restore_tid = tid};
	}
	qsort(items, n, sizeof(*items), by_pid);
	if (n == 0) {
		free(items);
		items = NULL;
	}
	*ret = items;
	*ret_n = n;
	return 0;
}
