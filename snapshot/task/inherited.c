/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/inherited.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "common/procfs.h"
#include "snapshot/task/injector.h"
#include "snapshot/task/mappings.h"
#include "snapshot/task/procmaps.h"

#define ONE_MAPPINGS_MAX (1U << 20) /* of a process; the kernel's default limit is 65,530 */

/* a private mapping of a process */
struct range {
	uint64_t start;
	uint64_t end;
	uint8_t prot;
	uint8_t lock; /* enum manifest_lock */
	/* a bit for each protection that CRIU may give it instead of its own */
	uint8_t others;
	bool is_inherited;
};

struct space {
	pid_t pid;
	struct range *ranges; /* ascending */
	size_t n;
};

struct collector {
	struct space *spaces;
	size_t n;
	struct manifest *m;
	struct snap_error *err;
};

static int add_range(struct space *space, const struct range *range)
{
	void *bigger;

	/* room doubles at powers of two */
	if ((space->n & (space->n - 1)) == 0) {
		bigger = space->n < ONE_MAPPINGS_MAX
				 ? reallocarray(space->ranges, space->n ? space->n * 2 : 1,
						sizeof(*range))
				 : NULL;
		if (!bigger)
			return -ENOMEM;
		space->ranges = bigger;
	}
	space->ranges[space->n++] = *range;
	return 0;
}

static int read_maps(struct space *space)
{
	snap_cleanup_procmaps struct procmaps maps;
	struct proc_map map;
	int r = procmaps_open(&maps, space->pid);

	while (r >= 0 && (r = procmaps_next(&maps, &map)) > 0) {
		const struct range range = {
			.start = map.start, .end = map.end, .prot = (uint8_t)map.prot};

		if (!map.shared)
			r = add_range(space, &range);
	}
	return r;
}

/* locks are told by smaps alone, which walks all page tables */
static int read_smaps(struct space *space)
{
	struct mappings mappings = {0};
	int r = mappings_load(space->pid, &mappings, NULL);

	for (size_t i = 0; r == 0 && i < mappings.n; i++) {
		const struct mapping *mapping = &mappings.items[i];
		struct range range = {.start = mapping->start,
				      .end = mapping->end,
				      .prot = (uint8_t)mapping->prot};

		/* the kernel does not tell one that is locked as it comes, but it shows by holes */
		if (mapping->flags & MAPPING_LOCKED)
			range.lock = mapping->resident_bytes < range.end - range.start
					     ? MANIFEST_LOCK_ON_FAULT
					     : MANIFEST_LOCK_WHOLE;
		if (!mapping->shared)
			r = add_range(space, &range);
	}
	mappings_done(&mappings);
	return r;
}

static bool has_locks(pid_t pid)
{
	char text[64];

	return procfs_status_field(pid, "VmLck", text, sizeof(text)) >= 0 &&
	       strtoull(text, NULL, 10) > 0;
}

static int note(struct collector *c, pid_t pid, const struct range *range)
{
	struct manifest *m = c->m;
	void *bigger = NULL;

	if (m->n_mappings < MANIFEST_ITEMS_MAX)
		bigger = reallocarray(m->mappings, m->n_mappings + 1, sizeof(*m->mappings));
	if (!bigger)
		return -ENOMEM;
	m->mappings = bigger;
	m->mappings[m->n_mappings++] = (struct manifest_mapping){
		.pid = pid,
		.start = range->start,
		.end = range->end,
		.prot = range->prot,
		.lock = range->lock,
	};
	return 0;
}

/*
 * Whether the parent hands it on is CRIU's to say, which asks for the same program and file too,
 * and an ancestor further up may have handed on the parent's: every protection in the line is one
 * that it may come back with. Some are noted that CRIU restores well; that costs a call each.
 */
static void compare(struct space *child, const struct space *parent)
{
	size_t p = 0;

	for (size_t i = 0; i < child->n; i++) {
		struct range *range = &child->ranges[i];

		while (p < parent->n && parent->ranges[p].start < range->start)
			p++;
		if (p == parent->n || parent->ranges[p].start != range->start ||
		    parent->ranges[p].end != range->end)
			continue;
		range->is_inherited = true;
		range->others = (uint8_t)(parent->ranges[p].others |
					  1U << (parent->ranges[p].prot | PROT_WRITE));
	}
}

static int note_differing(struct collector *c, const struct space *space)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < space->n; i++) {
		const struct range *range = &space->ranges[i];
		bool differs = (range->prot & PROT_WRITE) && (range->others & ~(1U << range->prot));

		if (range->is_inherited && (differs || range->lock))
			r = note(c, space->pid, range);
	}
	return r;
}

static const struct space *find(const struct collector *c, pid_t pid)
{
	for (size_t i = c->n; i-- > 0;) {
		if (c->spaces[i].pid == pid)
			return &c->spaces[i];
	}
	return NULL;
}

static int look_at(struct collector *c, const struct tree_process *process)
{
	const struct space *parent = find(c, process->ppid);
	struct space *space = &c->spaces[c->n++];
	int r;

	space->pid = process->pid;
	r = has_locks(process->pid) ? read_smaps(space) : read_maps(space);
	if (r == 0 && parent) {
		compare(space, parent);
		r = note_differing(c, space);
	}
	return r < 0 ? snap_fail(c->err, SNAP_E_DUMP, -r,
				 "cannot compare the mappings of pid %d "
				 "(%s) with its parent's",
				 (int)process->pid, process->comm)
		     : 0;
}

static int by_place(const void *a, const void *b)
{
	const struct manifest_mapping *x = a, *y = b;

	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return (x->start > y->start) - (x->start < y->start);
}

int inherited_collect(const struct task_tree *tree, struct manifest *m, struct snap_error *err)
{
	struct collector c = {.m = m, .err = err};
	int r = 0;

	if (tree->n_processes < 2)
		return 0;
	c.spaces = calloc(tree->n_processes, sizeof(*c.spaces));
	if (!c.spaces)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	/* a parent comes before its children */
	for (size_t i = 0; r == 0 && i < tree->n_processes; i++) {
		if (!tree->processes[i].zombie)
			r = look_at(&c, &tree->processes[i]);
	}
	for (size_t i = 0; i < c.n; i++)
		free(c.spaces[i].ranges);
	free(c.spaces);
	if (r == 0 && m->n_mappings > 0)
		qsort(m->mappings, m->n_mappings, sizeof(*m->mappings), by_place);
	return r;
}

/* wake */

struct restorer {
	struct injector injector;
	struct inherited_result *result;
	struct snap_error *err;
};

static void leave(struct inherited_result *result, const struct manifest_mapping *mapping,
		  const char *what, int errnum)
{
	if (result->left++ == 0)
		(void)snprintf(result->why, sizeof(result->why), "pid %d: %s: %s",
			       (int)mapping->pid, what, strerror(errnum));
}

/* 0: done; 1: forbidden, and told; -errno: the thread is lost */
static int call(struct restorer *c, const struct manifest_mapping *mapping, const char *name,
		long number, uint64_t how)
{
	const uint64_t args[6] = {mapping->start, mapping->end - mapping->start, how};
	int64_t value = 0;
	int r = injector_call(&c->injector, number, args, &value, c->err);

	if (r < 0 || value >= 0)
		return r;
	leave(c->result, mapping, name, (int)-value);
	return 1;
}

static int put_right(struct restorer *c, const struct manifest_mapping *mapping)
{
	uint64_t flags = mapping->lock == MANIFEST_LOCK_ON_FAULT ? MLOCK_ONFAULT : 0;
	int r = call(c, mapping, "mprotect", SYS_mprotect, mapping->prot);

	if (r == 0 && mapping->lock != MANIFEST_LOCK_NONE)
		r = call(c, mapping, "mlock2", SYS_mlock2, flags);
	return r < 0 ? r : 0;
}

/* the mappings of one process */
static int put_process_right(const struct manifest *m, size_t first, size_t n, struct restorer *c)
{
	const struct manifest_mapping *mappings = &m->mappings[first];
	struct snap_error ignored = {0};
	bool is_filtered;
	int r = injector_attach_past_filters(mappings->pid, NULL, &c->injector, &is_filtered,
					     &ignored);

	/* a filter of the engine's own could answer with death */
	if (r == 0 && is_filtered && m->tree_has_filter)
		r = -EPERM;
	if (r < 0) {
		for (size_t i = 0; i < n; i++)
			leave(c->result, &mappings[i], "cannot be traced", -r);
		r = 0;
	} else {
		for (size_t i = 0; r == 0 && i < n; i++)
			r = put_right(c, &mappings[i]);
	}
	(void)injector_detach(&c->injector);
	return r;
}

int inherited_restore(const struct manifest *m, struct inherited_result *ret,
		      struct snap_error *err)
{
	struct restorer c = {.result = ret, .err = err};
	int r = 0;

	*ret = (struct inherited_result){0};
	for (size_t i = 0, n; r == 0 && i < m->n_mappings; i += n) {
		for (n = 1; i + n < m->n_mappings; n++) {
			if (m->mappings[i + n].pid != m->mappings[i].pid)
				break;
		}
		r = put_process_right(m, i, n, &c);
	}
	return r;
}
