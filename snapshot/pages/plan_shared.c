/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/pages/object.h"
#include "snapshot/pages/plan.h"
#include "snapshot/task/mappings.h"
#include "snapshot/task/shmem.h"

#define OBJECT_NAME_MAX 64U

struct object {
	uint64_t inode;
	struct page_space space; /* how it is reached */
	uint64_t mapped_bytes;
	uint32_t prot;
	char name[OBJECT_NAME_MAX];
};

struct finder {
	dev_t device;
	struct object *objects;
	size_t n;
	size_t room;
};

static struct object *object_of(struct finder *f, uint64_t inode)
{
	for (size_t i = 0; i < f->n; i++) {
		if (f->objects[i].inode == inode)
			return &f->objects[i];
	}
	if (f->n == f->room) {
		size_t room = f->room ? f->room * 2 : 16;
		struct object *bigger = reallocarray(f->objects, room, sizeof(*bigger));

		if (!bigger || room > PAGE_MAP_SPACES_MAX) {
			f->objects = bigger ? bigger : f->objects;
			return NULL;
		}
		f->objects = bigger;
		f->room = room;
	}
	f->objects[f->n] = (struct object){.inode = inode, .space.fd = -1};
	return &f->objects[f->n++];
}

static void name_object(struct object *object, const char *path)
{
	(void)snprintf(object->name, sizeof(object->name), "%.*s", (int)OBJECT_NAME_MAX - 1, path);
}

static int find_mappings(struct finder *f, pid_t pid, struct snap_error *err)
{
	struct mappings mappings;
	int r = mappings_load(pid, &mappings, err);

	for (size_t i = 0; r == 0 && i < mappings.n; i++) {
		const struct mapping *mapping = &mappings.items[i];
		struct object *object;

		if (!mapping->shared || mapping->dev != f->device ||
		    strncmp(mapping->path, "/SYSV", 5) == 0)
			continue;
		object = object_of(f, mapping->inode);
		if (!object) {
			r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "too many shared objects");
			break;
		}
		object->mapped_bytes += mapping->end - mapping->start;
		if (object->space.pid)
			continue;
		name_object(object, mapping->path);
		object->prot = (uint32_t)mapping->prot;
		object->space.pid = pid;
		object->space.start = mapping->start;
		object->space.end = mapping->end;
	}
	if (r == 0)
		mappings_done(&mappings);
	return r;
}

static int find_descriptor(struct finder *f, pid_t pid, int dir_fd, const char *name)
{
	struct object *object;
	struct stat st;
	char link[128];
	ssize_t n;

	if (fstatat(dir_fd, name, &st, 0) < 0 || st.st_dev != f->device || !S_ISREG(st.st_mode))
		return 0;
	object = object_of(f, st.st_ino);
	if (!object)
		return -ENOMEM;
	if (object->space.fd >= 0)
		return 0;
	if (!object->space.pid) {
		n = readlinkat(dir_fd, name, link, sizeof(link) - 1);
		link[n > 0 ? n : 0] = '\0';
		name_object(object, link);
	}
	/* a descriptor needs no right to map_files; the mapping may be another process's */
	object->space.pid = pid;
	object->space.start = object->space.end = 0;
	object->space.fd = atoi(name);
	return 0;
}

static int find_descriptors(struct finder *f, pid_t pid, struct snap_error *err)
{
	snap_cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	char path[64];
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot list '%s'", path);
	while (r == 0 && (entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			r = find_descriptor(f, pid, dirfd(dir), entry->d_name);
	}
	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "too many shared objects") : 0;
}

/* a run for every stretch of content, one drop for the whole */
static int plan_content(struct pages_plan *plan, int fd, uint64_t size, struct page_region *region)
{
	struct pages_run run = {.space = (uint32_t)plan->map.n_spaces,
				.region = (uint32_t)plan->map.n_regions};
	off_t at = 0;
	int r = 0;

	while (r == 0 && (at = lseek(fd, at, SEEK_DATA)) >= 0) {
		off_t end = lseek(fd, at, SEEK_HOLE);

		if (end <= at)
			return -EIO;
		/* the size need not be a whole number of pages, the memory is */
		run.address = (uint64_t)at / PAGE_BYTES * PAGE_BYTES;
		run.bytes = page_round_up((uint64_t)end - run.address);
		r = pages_plan_add_run(plan, &run);
		at = end;
	}
	if (r < 0 || (at < 0 && errno != ENXIO))
		return r < 0 ? r : -errno;
	region->end = size;
	return pages_plan_add_drop(plan, &(struct pages_drop){.space = run.space, .end = size});
}

/*
 * What only a mapping leads to (/proc/PID/map_files) cannot be filled from a user namespace, where
 * a snapshot may be verified or woken: CRIU carries it.
 */
static uint32_t kept_object(const struct page_space *space, int fd)
{
	int seals = fd < 0 ? 0 : fcntl(fd, F_GET_SEALS);

	if (fd < 0 || space->fd < 0)
		return PAGE_KEPT_UNREACHABLE;
	return seals > 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) ? PAGE_KEPT_SEALED : 0;
}

static int plan_object(struct pages_plan *plan, struct object *object, struct snap_error *err)
{
	snap_cleanup_close int fd = pages_object_open(&object->space);
	struct page_region region = {
		.pid = object->space.pid,
		.shared = 1,
		.prot = object->prot,
		.kept = kept_object(&object->space, fd),
	};
	struct stat st = {0};
	int r = 0;

	if (fd >= 0 && fstat(fd, &st) < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot look at '%s'", object->name);
	if (fd >= 0 && (st.st_size == 0 || st.st_ino != object->inode))
		return 0;
	(void)snprintf(region.name, sizeof(region.name), "%s", object->name);
	region.end =
		st.st_size > 0 ? (uint64_t)st.st_size : object->space.end - object->space.start;
	region.end = page_round_up(region.end);
	if (region.kept) {
		region.kept_bytes = fd >= 0 ? (uint64_t)st.st_blocks * 512 : region.end;
	} else {
		object->space.object_bytes = (uint64_t)st.st_size;
		r = plan_content(plan, fd, region.end, &region);
		if (r == 0)
			r = page_map_add_space(&plan->map, &object->space);
	}
	if (r == 0)
		r = page_map_add_region(&plan->map, &region);
	return r < 0 ? snap_fail(err, SNAP_E_DUMP, -r, "cannot plan '%s'", object->name) : 0;
}

int pages_plan_add_shared(const struct task_tree *tree, struct pages_plan *plan,
			  struct snap_error *err)
{
	struct finder f = {.device = shmem_device()};
	int r = 0;

	for (size_t i = 0; r == 0 && i < tree->n_processes; i++) {
		if (tree->processes[i].zombie)
			continue;
		r = find_mappings(&f, tree->processes[i].pid, err);
		if (r == 0)
			r = find_descriptors(&f, tree->processes[i].pid, err);
	}
	for (size_t i = 0; r == 0 && i < f.n; i++) {
		f.objects[i].space.kind = PAGE_SPACE_SHARED;
		r = plan_object(plan, &f.objects[i], err);
	}
	free(f.objects);
	return r;
}
