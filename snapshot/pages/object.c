/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/object.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

int pages_object_open(const struct page_space *space)
{
	char path[96];
	int fd;

	if (space->fd >= 0)
		(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)space->pid, space->fd);
	else
		(void)snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64,
			       (int)space->pid, space->start, space->end);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

int pages_space_open(const struct page_space *space, int flags)
{
	char path[64];
	int fd;

	if (space->kind == PAGE_SPACE_SHARED)
		return pages_object_open(space);
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)space->pid);
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
