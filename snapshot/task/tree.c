/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/tree.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/procfs.h"
#include "snapshot/task/threads.h"

/* what any one /proc can hold: the kernel's PID_MAX_LIMIT */
#define ALL_PROCESSES_MAX (4U << 20)

/* of every process: itself, its group and its session, besides the threads */
#define IDS_MAX (TREE_TASKS_MAX * 3)

struct census {
	struct tree_process *items; /* every process of this pid namespace */
	size_t n;
	size_t room;
};

static void census_done(struct census *census)
{
	free(census->items);
	*census = (struct census){0};
}

static int census_add(pid_t pid, void *arg)
{
	struct census *census = arg;
	struct tree_process *process;
	struct proc_stat stat;
	int r;

	r = procfs_stat(pid, &stat);
	if (r == -ENOENT || r == -ESRCH)
		return 0;
	if (r < 0)
		return r;

	if (census->n == census->room) {
		size_t room = census->room ? census->room * 2 : 256;
		struct tree_process *bigger;

		if (room > ALL_PROCESSES_MAX)
			return -E2BIG;
		bigger = reallocarray(census->items, room, sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		census->items = bigger;
		census->room = room;
	}
	process = &census->items[census->n++];
	*process = (struct tree_process){
		.pid = pid,
		.ppid = stat.ppid,
		.pgrp = stat.pgrp,
		.session = stat.session,
		.zombie = stat.state == 'Z' || stat.state == 'X',
	};
	static_assert(sizeof(process->comm) == sizeof(stat.comm), "same length of names");
	memcpy(process->comm, stat.comm, sizeof(stat.comm));
	return 0;
}

static int by_parent(const void *a, const void *b)
{
	const struct tree_process *x = a, *y = b;

	if (x->ppid != y->ppid)
		return x->ppid < y->ppid ? -1 : 1;
	return (x->pid > y->pid) - (x->pid < y->pid);
}

/* first of the census (sorted by parent) whose parent is not below ppid */
static size_t first_child(const struct census *census, pid_t ppid)
{
	size_t low = 0, high = census->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (census->items[middle].ppid < ppid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* the root and all below it, parents before children */
static int pick_descendants(const struct census *census, pid_t root, struct task_tree *tree)
{
	tree->processes = calloc(census->n, sizeof(*tree->processes));
	if (!tree->processes)
		return -ENOMEM;
	for (size_t i = 0; i < census->n; i++) {
		if (census->items[i].pid == root)
			tree->processes[tree->n_processes++] = census->items[i];
	}
	/* a picture taken while processes move may hold a loop: n is the bound */
	for (size_t done = 0; done < tree->n_processes; done++) {
		pid_t parent = tree->processes[done].pid;

		for (size_t i = first_child(census, parent);
		     i < census->n && census->items[i].ppid == parent; i++) {
			if (tree->n_processes == census->n)
				return -EAGAIN;
			tree->processes[tree->n_processes++] = census->items[i];
		}
	}
	return 0;
}

static int add_id(struct task_tree *tree, pid_t id)
{
	if (id <= 0) /* a group or session led from outside our pid namespace */
		return 0;
	if (tree->n_ids == IDS_MAX)
		return -E2BIG;
	tree->ids[tree->n_ids++] = id;
	return 0;
}

static bool task_has_filter(pid_t tid)
{
	char mode[8];

	return procfs_status_field(tid, "Seccomp", mode, sizeof(mode)) == 0 &&
	       strcmp(mode, "2") == 0;
}

struct thread_count {
	struct task_tree *tree;
	size_t *n_tasks; /* of all processes, counts on */
	size_t n;	 /* of this one */
};

static int add_thread(pid_t tid, void *arg)
{
	struct thread_count *count = arg;
	int r;

	if (++*count->n_tasks > TREE_TASKS_MAX)
		return -E2BIG;
	count->n++;
	r = add_id(count->tree, tid);
	if (r < 0)
		return r;
	if (!count->tree->has_seccomp_filter)
		count->tree->has_seccomp_filter = task_has_filter(tid);
	return 0;
}

/* every thread of the process, *ret_n of them; *n_tasks counts on */
static int add_threads(struct task_tree *tree, pid_t pid, size_t *n_tasks, size_t *ret_n)
{
	struct thread_count count = {.tree = tree, .n_tasks = n_tasks};
	int r = threads_each(pid, add_thread, &count);

	*ret_n = count.n;
	return r;
}

static uint64_t resident_bytes(pid_t pid)
{
	char path[32], line[128];
	uint64_t pages;

	(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (io_read_line(AT_FDCWD, path, line, sizeof(line)) < 0 ||
	    sscanf(line, "%*u %" SCNu64, &pages) != 1)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int compare_ids(const void *a, const void *b)
{
	const int32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void sort_ids(struct task_tree *tree)
{
	size_t kept = 0;

	qsort(tree->ids, tree->n_ids, sizeof(*tree->ids), compare_ids);
	for (size_t i = 0; i < tree->n_ids; i++) {
		if (kept == 0 || tree->ids[kept - 1] != tree->ids[i])
			tree->ids[kept++] = tree->ids[i];
	}
	tree->n_ids = kept;
}

/* ids, memory and filters of the processes picked; those gone meanwhile are dropped */
static int look_into_processes(struct task_tree *tree)
{
	size_t kept = 0, n_tasks = 0;

	tree->ids = calloc(IDS_MAX, sizeof(*tree->ids));
	if (!tree->ids)
		return -ENOMEM;
	for (size_t i = 0; i < tree->n_processes; i++) {
		struct tree_process process = tree->processes[i];
		size_t n_threads;
		int r;

		r = add_threads(tree, process.pid, &n_tasks, &n_threads);
		if (r == -ESRCH && i > 0)
			continue;
		if (r == 0)
			r = add_id(tree, process.pid);
		if (r == 0)
			r = add_id(tree, process.pgrp);
		if (r == 0)
			r = add_id(tree, process.session);
		if (r < 0)
			return r;
		/* a main thread that ended before the others looks like a zombie too */
		process.zombie = process.zombie && n_threads <= 1;
		tree->resident_bytes += resident_bytes(process.pid);
		tree->processes[kept++] = process;
	}
	tree->n_processes = kept;
	sort_ids(tree);
	return 0;
}

static int collect(pid_t root, struct task_tree *tree)
{
	__attribute__((cleanup(census_done))) struct census census = {0};
	int r;

	r = procfs_each_pid(census_add, &census);
	if (r < 0)
		return r;
	if (census.n == 0)
		return -ESRCH;
	qsort(census.items, census.n, sizeof(*census.items), by_parent);
	r = pick_descendants(&census, root, tree);
	if (r < 0)
		return r;
	if (tree->n_processes == 0)
		return -ESRCH;
	return look_into_processes(tree);
}

int task_tree_collect(pid_t root, struct task_tree *ret, struct snap_error *err)
{
	__attribute__((cleanup(task_tree_done))) struct task_tree tree = {0};
	int r;

	r = collect(root, &tree);
	if (r == -ESRCH)
		return snap_fail(err, SNAP_E_DUMP, ESRCH, "process %d is gone", (int)root);
	if (r == -E2BIG)
		return snap_fail(err, SNAP_E_UNSNAPSHOTABLE, E2BIG,
				 "the tree below process %d has more than %d tasks", (int)root,
				 TREE_TASKS_MAX);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot read the tree below process %d",
				 (int)root);
	*ret = tree;
	tree = (struct task_tree){0};
	return 0;
}

void task_tree_done(struct task_tree *tree)
{
	free(tree->processes);
	free(tree->ids);
	*tree = (struct task_tree){0};
}

bool task_tree_has(const struct task_tree *tree, pid_t pid)
{
	for (size_t i = 0; i < tree->n_processes; i++) {
		if (tree->processes[i].pid == pid)
			return true;
	}
	return false;
}
