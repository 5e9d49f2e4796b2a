/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_IO_H
#define SNAP_COMMON_IO_H

/*
 * Whole reads and writes, and files that are either the old or the new content, never half.
 * Paths are relative to a directory descriptor (AT_FDCWD allowed) and the last component is
 * never followed when it is a symbolic link.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/* read until size bytes or end of file; bytes read or -errno */
ssize_t io_read_full(int fd, void *buf, size_t size);

/* write all of it; 0 or -errno */
int io_write_full(int fd, const void *buf, size_t size);

/* the same at an offset, which the descriptor's own stays out of */
ssize_t io_pread_full(int fd, void *buf, size_t size, uint64_t offset);
int io_pwrite_full(int fd, const void *buf, size_t size, uint64_t offset);

/*
 * Read a whole regular file of at most max bytes into fresh memory, NUL-terminated beyond its
 * size. *ret_buf is the caller's to free. -EFBIG when larger. Works for /proc files too.
 */
int io_read_file(int dir_fd, const char *path, size_t max, char **ret_buf, size_t *ret_size,
		 struct snap_error *err);

/*
 * Read at most size-1 bytes of a small (proc, sysfs) file into buf, NUL-terminated, last newline
 * removed. Bytes or -errno. Never allocates.
 */
ssize_t io_read_line(int dir_fd, const char *path, char *buf, size_t size);

/*
 * Which code a write that failed has: what the place refuses (full, over a quota or a file-size
 * limit, read-only) is its owner's to cure, SNAP_E_PREFLIGHT; else `otherwise`.
 */
enum snap_code io_write_code(int errnum, enum snap_code otherwise);

/* "cannot write 'name'", why, and what helps; -errnum */
int io_fail_write(struct snap_error *err, enum snap_code otherwise, int errnum, const char *name);

/* temporary in the same directory, fsync, rename, fsync of the directory; mode as given */
int io_replace_file(int dir_fd, const char *path, const void *data, size_t size, mode_t mode,
		    struct snap_error *err);

/* copy size bytes (or all when size is UINT64_MAX) from offset 0; copy_file_range where it works */
int io_copy_fd(int from, int to, uint64_t size, struct snap_error *err);

#endif
