/* SPDX-License-Identifier: Apache-2.0 */
#include "common/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

#define COPY_CHUNK (1U << 20)

ssize_t io_read_full(int fd, void *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, (char *)buf + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_write_full(int fd, const void *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write(fd, (const char *)buf + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

ssize_t io_pread_full(int fd, void *buf, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = pread(fd, (char *)buf + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int io_pwrite_full(int fd, const void *buf, size_t size, uint64_t offset)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n =
			pwrite(fd, (const char *)buf + done, size - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int io_read_file(int dir_fd, const char *path, size_t max, char **ret_buf, size_t *ret_size,
		 struct snap_error *err)
{
	snap_cleanup_close int fd = FD_NONE;
	snap_cleanup_free char *buf = NULL;
	size_t used = 0, room = 4096;

	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open '%s'", path);

	for (;;) {
		char *bigger = realloc(buf, room + 1);
		ssize_t n;

		if (!bigger)
			return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot read '%s'", path);
		buf = bigger;
		n = io_read_full(fd, buf + used, room - used);
		if (n < 0)
			return snap_fail(err, SNAP_E_CORRUPT, (int)-n, "cannot read '%s'", path);
		used += (size_t)n;
		if (used < room)
			break;
		if (room > max)
			return snap_fail(err, SNAP_E_CORRUPT, EFBIG,
					 "'%s' is larger than %zu bytes", path, max);
		room *= 2;
	}
	if (used > max)
		return snap_fail(err, SNAP_E_CORRUPT, EFBIG, "'%s' is larger than %zu bytes", path,
				 max);
	buf[used] = '\0';
	*ret_size = used;
	*ret_buf = TAKE_PTR(buf);
	return 0;
}

ssize_t io_read_line(int dir_fd, const char *path, char *buf, size_t size)
{
	snap_cleanup_close int fd = FD_NONE;
	ssize_t n;

	fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	n = io_read_full(fd, buf, size - 1);
	if (n < 0)
		return n;
	if (n > 0 && buf[n - 1] == '\n')
		n--;
	buf[n] = '\0';
	return n;
}

enum snap_code io_write_code(int errnum, enum snap_code otherwise)
{
	return snap_code_of_place(errnum) == SNAP_E_PREFLIGHT ? SNAP_E_PREFLIGHT : otherwise;
}

static const char *write_remedy(int errnum)
{
	switch (errnum) {
	case ENOSPC:
		return " (remedy: more space on its file system)";
	case EDQUOT:
		return " (remedy: a larger quota)";
	case EFBIG:
		return " (remedy: a larger RLIMIT_FSIZE, ulimit -f)";
	default:
		return "";
	}
}

int io_fail_write(struct snap_error *err, enum snap_code otherwise, int errnum, const char *name)
{
	return snap_fail_plain(err, io_write_code(errnum, otherwise), errnum,
			       "cannot write '%s': %s%s", name, strerror(errnum),
			       write_remedy(errnum));
}

int io_replace_file(int dir_fd, const char *path, const void *data, size_t size, mode_t mode,
		    struct snap_error *err)
{
	snap_cleanup_close int fd = FD_NONE;
	char tmp[256];
	int r;

	r = snprintf(tmp, sizeof(tmp), "%s.tmp.%d", path, (int)getpid());
	if (r < 0 || (size_t)r >= sizeof(tmp))
		return snap_fail(err, SNAP_E_INTERNAL, ENAMETOOLONG, "cannot replace '%s'", path);

	(void)unlinkat(dir_fd, tmp, 0);
	fd = openat(dir_fd, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return io_fail_write(err, SNAP_E_INTERNAL, errno, path);

	r = io_write_full(fd, data, size);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dir_fd, tmp, dir_fd, path) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dir_fd, tmp, 0);
		return io_fail_write(err, SNAP_E_INTERNAL, -r, path);
	}
	if (dir_fd >= 0 && fsync(dir_fd) < 0 && errno != EINVAL)
		return snap_fail(err, io_write_code(errno, SNAP_E_INTERNAL), errno,
				 "cannot sync the folder of '%s'", path);
	return 0;
}

int io_copy_fd(int from, int to, uint64_t size, struct snap_error *err)
{
	snap_cleanup_free char *buf = NULL;
	uint64_t done = 0;

	while (done < size) {
		size_t want = size - done < COPY_CHUNK ? (size_t)(size - done) : COPY_CHUNK;
		ssize_t n = copy_file_range(from, NULL, to, NULL, want, 0);

		if (n == 0 && done > 0)
			return 0;
		if (n <= 0)
			break;
		done += (uint64_t)n;
	}
	if (done >= size)
		return 0;

	/* other file system, proc file, or an old kernel: by hand from where we are */
	buf = malloc(COPY_CHUNK);
	if (!buf)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot copy");
	while (done < size) {
		size_t want = size - done < COPY_CHUNK ? (size_t)(size - done) : COPY_CHUNK;
		ssize_t n = io_read_full(from, buf, want);
		int r;

		if (n < 0)
			return snap_fail(err, SNAP_E_INTERNAL, (int)-n, "cannot read");
		if (n == 0)
			return 0;
		r = io_write_full(to, buf, (size_t)n);
		if (r < 0)
			return snap_fail(err, io_write_code(-r, SNAP_E_INTERNAL), -r,
					 "cannot write");
		done += (uint64_t)n;
	}
	return 0;
}
