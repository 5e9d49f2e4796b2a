/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where /proc/PID/map_files is closed (in a user namespace), CRIU cannot tell which file a mapping
 * of a memfd belongs to. It dumps the mapping as shared anonymous memory and the descriptor as a
 * memfd, both without an error: after a wake they are two memories, and what is written through
 * one is not seen through the other. A private mapping comes back with zeros in the pages that were
 * not written to, without an error too.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>

#include "snapshot/task/audit_internal.h"
#include "snapshot/task/procmaps.h"

#ifndef CAP_CHECKPOINT_RESTORE
#	define CAP_CHECKPOINT_RESTORE 40
#endif

#define MEMFDS_MAX (1U << 20)

/* the first descriptor and the first mapping of it that were found */
struct audit_memfd {
	uint64_t inode;
	const struct tree_process *holder; /* NULL: no descriptor */
	int fd;
	const struct tree_process *mapper; /* NULL: no mapping */
	uint64_t start;
	char name[64];
};

/* NULL: out of memory, told */
static struct audit_memfd *memfd_of(struct audit *audit, uint64_t inode)
{
	void *items = audit->memfds;
	struct audit_memfd *memfd;
	int r;

	for (size_t i = 0; i < audit->n_memfds; i++) {
		if (audit->memfds[i].inode == inode)
			return &audit->memfds[i];
	}
	r = audit_make_room(&items, audit->n_memfds, &audit->room_memfds, sizeof(*memfd),
			    MEMFDS_MAX);
	audit->memfds = items;
	if (r < 0) {
		(void)snap_fail(audit->err, SNAP_E_INTERNAL, -r, "cannot note the memfds");
		return NULL;
	}
	memfd = &audit->memfds[audit->n_memfds++];
	*memfd = (struct audit_memfd){.inode = inode};
	return memfd;
}

bool audit_can_read_map_files(void)
{
	return audit_has_capability(CAP_CHECKPOINT_RESTORE, true) ||
	       audit_has_capability(CAP_SYS_ADMIN, true);
}

int audit_memfd_held(struct audit *audit, const struct tree_process *process, int fd,
		     uint64_t inode)
{
	struct audit_memfd *memfd;

	if (audit->can_read_map_files)
		return 0;
	memfd = memfd_of(audit, inode);
	if (!memfd)
		return -ENOMEM;
	if (!memfd->holder) {
		memfd->holder = process;
		memfd->fd = fd;
	}
	return 0;
}

int audit_memfd_mapped(struct audit *audit, const struct tree_process *process,
		       const struct proc_map *map)
{
	struct audit_memfd *memfd;

	if (audit->can_read_map_files)
		return 0;
	if (!map->shared) {
		audit_find(
			audit, process,
			"maps a private copy of '%.60s' at %" PRIx64 ", which CRIU can only "
			"dump with CHECKPOINT_RESTORE in the first user namespace; use anonymous "
			"memory",
			map->path, map->start);
		return 0;
	}
	memfd = memfd_of(audit, map->inode);
	if (!memfd)
		return -ENOMEM;
	if (!memfd->mapper) {
		memfd->mapper = process;
		memfd->start = map->start;
		(void)snprintf(memfd->name, sizeof(memfd->name), "%s", map->path);
	}
	return 0;
}

void audit_memfds(struct audit *audit)
{
	for (size_t i = 0; i < audit->n_memfds; i++) {
		const struct audit_memfd *memfd = &audit->memfds[i];

		if (!memfd->holder || !memfd->mapper)
			continue;
		audit_find(audit, memfd->mapper,
			   "maps '%s' at %" PRIx64 ", which pid %d has open as fd %d: without "
			   "CHECKPOINT_RESTORE in the first user namespace CRIU makes two memories "
			   "of it; close the descriptor once it is mapped",
			   memfd->name, memfd->start, (int)memfd->holder->pid, memfd->fd);
	}
}
