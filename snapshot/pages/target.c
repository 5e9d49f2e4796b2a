/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/pages/object.h"

#define EXTENTS_AT_ONCE 512U /* of UIO_MAXIOV 1024 */

void page_target_init(struct page_target *target, const struct page_map *map)
{
	*target = (struct page_target){.map = map, .fd = FD_NONE};
}

void page_target_done(struct page_target *target)
{
	target->fd = fd_close(target->fd);
}

static int open_space(struct page_target *target, uint32_t index)
{
	const struct page_space *space = &target->map->spaces[index];
	char path[64];

	if (target->fd >= 0 && target->space == index)
		return 0;
	target->fd = fd_close(target->fd);
	target->space = index;
	if (space->kind == PAGE_SPACE_SHARED) {
		target->fd = pages_object_open(space);
		return target->fd < 0 ? target->fd : 0;
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)space->pid);
	target->fd = open(path, O_RDWR | O_CLOEXEC);
	return target->fd < 0 ? -errno : 0;
}

static int write_full(int fd, const unsigned char *from, uint64_t size, uint64_t at)
{
	while (size > 0) {
		ssize_t n = pwrite(fd, from, size, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		at += (uint64_t)n;
		size -= (uint64_t)n;
	}
	return 0;
}

/* an object's last page is written up to its size: writing beyond would make it grow */
static uint64_t object_end(const struct page_space *space)
{
	return space->kind == PAGE_SPACE_SHARED ? space->object_bytes : UINT64_MAX;
}

static int put_by_fd(struct page_target *target, const struct page_chunk *chunk,
		     const unsigned char *bytes)
{
	uint64_t limit = object_end(&target->map->spaces[chunk->space]);
	int r = open_space(target, chunk->space);

	for (uint32_t i = 0; r == 0 && i < chunk->n_extents; i++) {
		const struct page_extent *extent = &target->map->extents[chunk->first_extent + i];
		uint64_t size = (uint64_t)extent->n_pages * PAGE_BYTES, end;

		end = extent->address + size < limit ? extent->address + size : limit;
		r = write_full(target->fd, bytes, end - extent->address, extent->address);
		bytes += size;
	}
	return r;
}

static int put_by_writev(pid_t pid, const struct page_extent *extents, uint32_t n,
			 const unsigned char *bytes)
{
	while (n > 0) {
		uint32_t count = n < EXTENTS_AT_ONCE ? n : EXTENTS_AT_ONCE;
		struct iovec remote[EXTENTS_AT_ONCE], local = {(void *)(uintptr_t)bytes, 0};
		ssize_t put;

		for (uint32_t i = 0; i < count; i++) {
			size_t size = (size_t)extents[i].n_pages * PAGE_BYTES;

			remote[i] = (struct iovec){(void *)(uintptr_t)extents[i].address, size};
			local.iov_len += size;
		}
		put = process_vm_writev(pid, &local, 1, remote, count, 0);
		if (put < 0)
			return -errno;
		if ((size_t)put != local.iov_len)
			return -EFAULT;
		bytes += put;
		extents += count;
		n -= count;
	}
	return 0;
}

int page_target_put(struct page_target *target, const struct page_chunk *chunk,
		    const unsigned char *bytes)
{
	const struct page_space *space = &target->map->spaces[chunk->space];
	int r;

	if (space->kind == PAGE_SPACE_SHARED || (chunk->flags & PAGE_CHUNK_READ_ONLY))
		return put_by_fd(target, chunk, bytes);
	r = put_by_writev(space->pid, &target->map->extents[chunk->first_extent], chunk->n_extents,
			  bytes);
	/* what process_vm_writev does not reach, the forced way does */
	return r == -EFAULT ? put_by_fd(target, chunk, bytes) : r;
}
