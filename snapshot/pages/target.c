/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/target.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/pages/object.h"

#define EXTENTS_AT_ONCE 512U /* of UIO_MAXIOV 1024 */

void page_target_init(struct page_target *target, const struct page_map *map,
		      const struct page_device *device)
{
	*target = (struct page_target){.map = map, .device = device, .fd = FD_NONE};
}

void page_target_done(struct page_target *target)
{
	target->fd = fd_close(target->fd);
}

static int open_space(struct page_target *target, uint32_t index)
{
	if (target->fd >= 0 && target->space == index)
		return 0;
	(void)fd_close(target->fd);
	target->space = index;
	target->fd = pages_space_open(&target->map->spaces[index], O_RDWR);
	return target->fd < 0 ? target->fd : 0;
}

/* an object's last page is written up to its size: writing beyond would make it grow */
static uint64_t object_end(const struct page_space *space)
{
	return space->kind == PAGE_SPACE_TASK ? UINT64_MAX : space->object_bytes;
}

/* the stretches of the chunk from *cursor on that size bytes fill, EXTENTS_AT_ONCE at most */
static size_t next_stretches(const struct page_map *map, const struct page_chunk *chunk,
			     struct page_cursor *cursor, size_t size, struct iovec *ret)
{
	size_t n = 0;

	while (size > 0 && n < EXTENTS_AT_ONCE && cursor->extent < chunk->n_extents) {
		const struct page_extent *extent =
			&map->extents[chunk->first_extent + cursor->extent];
		uint64_t left = (uint64_t)extent->n_pages * PAGE_BYTES - cursor->done;
		size_t take = left < size ? (size_t)left : size;

		ret[n++] =
			(struct iovec){(void *)(uintptr_t)(extent->address + cursor->done), take};
		cursor->done += take;
		size -= take;
		if (take == left)
			*cursor = (struct page_cursor){.extent = cursor->extent + 1};
	}
	return n;
}

static int put_by_fd(struct page_target *target, uint32_t space, const struct iovec *to, size_t n,
		     const unsigned char *bytes)
{
	const struct page_space *to_space = &target->map->spaces[space];
	const struct page_device *device = target->device;
	bool is_device = to_space->kind == PAGE_SPACE_DEVICE;
	uint64_t limit = object_end(to_space);
	int r = !is_device ? open_space(target, space) : device ? 0 : -ENODEV;

	for (size_t i = 0; r == 0 && i < n; i++) {
		uint64_t at = (uintptr_t)to[i].iov_base, end = at + to[i].iov_len;

		if (end > limit)
			end = limit;
		if (at < end && is_device)
			r = device->write(device->arg, to_space, at, bytes, end - at);
		else if (at < end)
			r = io_pwrite_full(target->fd, bytes, end - at, at);
		bytes += to[i].iov_len;
	}
	return r;
}

static int put_by_writev(pid_t pid, const struct iovec *to, size_t n, const unsigned char *bytes,
			 size_t size)
{
	struct iovec local = {(void *)(uintptr_t)bytes, size};
	ssize_t put = process_vm_writev(pid, &local, 1, to, n, 0);

	if (put < 0)
		return -errno;
	return (size_t)put == size ? 0 : -EFAULT;
}

static size_t sum(const struct iovec *to, size_t n)
{
	size_t size = 0;

	for (size_t i = 0; i < n; i++)
		size += to[i].iov_len;
	return size;
}

int page_target_put(struct page_target *target, const struct page_chunk *chunk,
		    struct page_cursor *cursor, const unsigned char *bytes, size_t size)
{
	const struct page_space *space = &target->map->spaces[chunk->space];
	bool by_fd = space->kind != PAGE_SPACE_TASK || (chunk->flags & PAGE_CHUNK_READ_ONLY);

	while (size > 0) {
		struct iovec to[EXTENTS_AT_ONCE];
		size_t n = next_stretches(target->map, chunk, cursor, size, to);
		size_t now = sum(to, n);
		int r = -EFAULT;

		if (n == 0)
			return -EINVAL;
		if (!by_fd)
			r = put_by_writev(space->pid, to, n, bytes, now);
		/* what process_vm_writev does not reach, the forced way does */
		if (r == -EFAULT)
			r = put_by_fd(target, chunk->space, to, n, bytes);
		if (r < 0)
			return r;
		bytes += now;
		size -= now;
	}
	return 0;
}
