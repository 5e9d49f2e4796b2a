/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/pagemap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define PAGE_SHIFT 12

int pagemap_open(pid_t pid)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

ssize_t pagemap_read(int fd, uint64_t address, uint64_t *entries, size_t n_pages)
{
	off_t offset = (off_t)((address >> PAGE_SHIFT) * sizeof(*entries));
	ssize_t n;

	do
		n = pread(fd, entries, n_pages * sizeof(*entries), offset);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n / (ssize_t)sizeof(*entries);
}
