/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

struct walk {
	dev_t dev;
	unsigned int depth;
};

static void close_dir(DIR **dir)
{
	int saved = errno;

	if (*dir)
		(void)closedir(*dir);
	*dir = NULL;
	errno = saved;
}

int folder_each(int dir_fd, folder_entry_fn fn, void *arg)
{
	/* a description of its own: readdir moves the offset, and the caller's is shared */
	snap_cleanup_close int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snap_cleanup(close_dir) DIR *dir = NULL;

	if (fd < 0)
		return -errno;
	dir = fdopendir(fd);
	if (!dir)
		return -errno;
	(void)TAKE_FD(fd);
	for (;;) {
		struct dirent *entry;
		int r;

		errno = 0;
		entry = readdir(dir);
		if (!entry)
			return -errno;
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		r = fn(dir_fd, entry->d_name, arg);
		if (r != 0)
			return r;
	}
}

static int open_folder(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int remove_entry(int dir_fd, const char *name, void *arg)
{
	const struct walk *outer = arg;
	struct walk walk = {.dev = outer->dev, .depth = outer->depth + 1};
	snap_cleanup_close int fd = FD_NONE;
	struct stat st;
	int r;

	if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR)
		return -errno;
	if (walk.depth > FOLDER_DEPTH_MAX)
		return -ELOOP;
	fd = open_folder(dir_fd, name);
	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_dev != walk.dev)
		return -EXDEV;
	r = folder_each(fd, remove_entry, &walk);
	if (r < 0)
		return r;
	return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

int folder_remove(int dir_fd, const char *name)
{
	struct walk walk = {0};
	struct stat st;

	if (fstat(dir_fd, &st) < 0)
		return -errno;
	walk.dev = st.st_dev;
	return remove_entry(dir_fd, name, &walk);
}

static int sync_file(int dir_fd, const char *name, const struct stat *st)
{
	snap_cleanup_close int fd =
		openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if ((st->st_mode & 077) != 0 && fchmod(fd, 0600) < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int sync_folder(int fd, unsigned int depth);

static int sync_entry(int dir_fd, const char *name, void *arg)
{
	const struct walk *walk = arg;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode)) {
		snap_cleanup_close int fd = open_folder(dir_fd, name);

		return fd < 0 ? fd : sync_folder(fd, walk->depth + 1);
	}
	return S_ISREG(st.st_mode) ? sync_file(dir_fd, name, &st) : 0;
}

static int sync_folder(int fd, unsigned int depth)
{
	struct walk walk = {.depth = depth};
	struct stat st;
	int r;

	if (depth > FOLDER_DEPTH_MAX)
		return -ELOOP;
	r = folder_each(fd, sync_entry, &walk);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0 || ((st.st_mode & 077) != 0 && fchmod(fd, 0700) < 0))
		return -errno;
	/* some network file systems cannot sync a folder and say EINVAL */
	return fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
}

int folder_sync(int fd)
{
	return sync_folder(fd, 0);
}
