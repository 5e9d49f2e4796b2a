/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/trusted.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"

#define LEVELS_MAX 3

int trusted_check(const struct stat *st, const char *path, struct snap_error *err)
{
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EPERM,
				       "'%s' is owned by uid %u, neither ours (%u) nor root's "
				       "(remedy: do this as that user, or chown it)",
				       path, st->st_uid, geteuid());
	if ((st->st_mode & 022) != 0)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EPERM,
				       "others may write to '%s' (mode %04o; remedy: chmod go-w)",
				       path, st->st_mode & 07777);
	return 0;
}

int trusted_check_fd(int fd, const char *path, struct snap_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot look at '%s'", path);
	return trusted_check(&st, path, err);
}

static int check_level(int dir_fd, const char *name, int level, struct snap_error *err);

static int check_entry(int dir_fd, const char *entry, const char *path, int level,
		       struct snap_error *err)
{
	snap_cleanup_close int fd = FD_NONE;
	struct stat st;
	int r;

	if (fstatat(dir_fd, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot look at '%s'", path);
	if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))
		return snap_fail_plain(err, SNAP_E_CORRUPT, EPERM,
				       "'%s' is no regular file and no folder", path);
	r = trusted_check(&st, path, err);
	if (r < 0 || !S_ISDIR(st.st_mode))
		return r;
	if (level >= LEVELS_MAX)
		return snap_fail_plain(err, SNAP_E_CORRUPT, ELOOP, "'%s' lies too deep", path);
	fd = openat(dir_fd, entry, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open '%s'", path);
	return check_level(fd, path, level + 1, err);
}

static int check_level(int dir_fd, const char *name, int level, struct snap_error *err)
{
	int copy = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	snap_cleanup_closedir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		(void)fd_close(copy);
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot list '%s'", name);
	}
	while (r == 0 && (entry = readdir(dir))) {
		char path[PATH_MAX];

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", name, entry->d_name);
		r = check_entry(dir_fd, entry->d_name, path, level, err);
	}
	return r;
}

int trusted_check_tree(int dir_fd, const char *name, struct snap_error *err)
{
	int r = trusted_check_fd(dir_fd, name, err);

	return r < 0 ? r : check_level(dir_fd, name, 1, err);
}
