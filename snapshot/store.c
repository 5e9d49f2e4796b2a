/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of steps makes a store readable at every moment, even after a power cut: a generation
 * is complete and synced before `current` names it, `current` is replaced by rename, and only then
 * older generations go. A generation without manifest.json is none: the manifest is written last
 * and removed first.
 */

#include "snapshot/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/folder.h"
#include "snapshot/generation.h"
#include "snapshot/lease.h"
#include "snapshot/manifest.h"
#include "snapshot/trusted.h"

#define CURRENT_NAME   "current"
#define BEGIN_ATTEMPTS 16
#define HOLD_ATTEMPTS  3
#define MIB	       ((uint64_t)1048576)

bool store_name_is_valid(const char *name)
{
	return generation_number(name) != 0;
}

/* O_NOFOLLOW looks at the last component only when no slash comes behind it */
static int copy_path(struct store *store, const char *path)
{
	size_t len = strlen(path);

	while (len > 1 && path[len - 1] == '/')
		len--;
	if (len == 0)
		return -ENOENT;
	if (len >= sizeof(store->path))
		return -ENAMETOOLONG;
	memcpy(store->path, path, len);
	store->path[len] = '\0';
	return 0;
}

/* -ENOENT also where what should be a folder above it is none; -ENOTDIR is about itself */
static int open_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r = fd < 0 ? -errno : fd;
	struct stat st;

	return r == -ENOTDIR && lstat(path, &st) < 0 && errno == ENOTDIR ? -ENOENT : r;
}

int store_open(struct store *store, const char *path, bool create, struct snap_error *err)
{
	snap_cleanup_close int fd = FD_NONE;
	int r;

	*store = (struct store){.fd = FD_NONE};
	r = copy_path(store, path);
	if (r < 0)
		return snap_fail(err, SNAP_E_USAGE, -r, "store '%.256s'", path);

	fd = open_folder(store->path);
	if (fd == -ENOENT && create) {
		if (mkdir(store->path, 0700) < 0 && errno != EEXIST)
			return snap_fail(err, snap_code_of_place(errno), errno,
					 "cannot make store '%s'", store->path);
		fd = open_folder(store->path);
	}
	if (fd == -ENOENT)
		return snap_fail(err, SNAP_E_NO_SNAPSHOT, ENOENT, "store '%s'", store->path);
	if (fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, -fd, "store '%s'", store->path);
	r = trusted_check_fd(fd, store->path, err);
	if (r < 0)
		return r;
	store->fd = TAKE_FD(fd);
	return 0;
}

static void drop_lease(struct store *store)
{
	if (store->holds_lease)
		lease_drop(store->fd, store->lease_token);
	store->holds_lease = false;
}

void store_close(struct store *store)
{
	drop_lease(store);
	store->fd = fd_close(store->fd);
}

/* the errno of openat(); what stands there may be no file at all */
static int fail_current(const struct store *store, int errnum, struct snap_error *err)
{
	struct stat st;

	if (errnum == ENOENT)
		return snap_fail_plain(err, SNAP_E_NO_SNAPSHOT, ENOENT,
				       "store '%s' has no current snapshot", store->path);
	if (fstatat(store->fd, CURRENT_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode))
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG,
				       "'%s/current' is no regular file", store->path);
	return snap_fail(err, SNAP_E_CORRUPT, errnum, "cannot open '%s/current'", store->path);
}

int store_current(const struct store *store, char ret_name[STORE_NAME_MAX], struct snap_error *err)
{
	snap_cleanup_close int fd = FD_NONE;
	char text[STORE_NAME_MAX + 1];
	struct stat st;
	ssize_t n;
	int r;

	fd = openat(store->fd, CURRENT_NAME,
		    O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fail_current(store, errno, err);
	if (!S_ISREG(st.st_mode))
		return fail_current(store, EBADMSG, err);
	r = trusted_check(&st, CURRENT_NAME, err);
	if (r < 0)
		return r;
	n = io_read_full(fd, text, sizeof(text));
	if (n >= 2 && (size_t)n < sizeof(text) && text[n - 1] == '\n') {
		text[n - 1] = '\0';
		if (strlen(text) == (size_t)n - 1 && store_name_is_valid(text)) {
			memcpy(ret_name, text, (size_t)n);
			return 0;
		}
	}
	(void)snap_fail(err, SNAP_E_CORRUPT, 0, "'%s/current' names no generation", store->path);
	return -EBADMSG;
}

int store_open_generation(const struct store *store, const char *name, struct snap_error *err)
{
	snap_cleanup_close int fd = FD_NONE;
	int r;

	if (!store_name_is_valid(name)) {
		(void)snap_fail(err, SNAP_E_USAGE, 0, "'%.64s' is no generation's name, like gen-1",
				name);
		return -EINVAL;
	}
	fd = openat(store->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return snap_fail(err, errno == ENOENT ? SNAP_E_NO_SNAPSHOT : SNAP_E_CORRUPT, errno,
				 "generation '%s'", name);
	r = trusted_check_fd(fd, name, err);
	return r < 0 ? r : TAKE_FD(fd);
}

int store_hold_generation(const struct store *store, const char *name, struct snap_error *err)
{
	snap_cleanup_close int fd = store_open_generation(store, name, err);
	int r = fd < 0 ? fd : generation_hold(fd);

	if (fd >= 0 && r < 0)
		return snap_fail(err, SNAP_E_NO_SNAPSHOT, -r, "generation '%s' is being removed",
				 name);
	return r < 0 ? r : TAKE_FD(fd);
}

int store_hold_current(const struct store *store, char ret_name[STORE_NAME_MAX],
		       struct snap_error *err)
{
	int fd = -ENOENT;

	/* between naming it and holding it, another one may have become current */
	for (int i = 0; fd == -ENOENT && i < HOLD_ATTEMPTS; i++) {
		int r = store_current(store, ret_name, err);

		if (r < 0)
			return r;
		fd = store_hold_generation(store, ret_name, err);
	}
	return fd;
}

static int find_last(int dir_fd, const char *name, void *arg)
{
	unsigned long *last = arg, number = generation_number(name);

	(void)dir_fd;
	if (number > *last)
		*last = number;
	return 0;
}

int store_next_name(const struct store *store, char ret_name[STORE_NAME_MAX],
		    struct snap_error *err)
{
	unsigned long last = 0;
	int r = folder_each(store->fd, find_last, &last);

	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot list '%s'", store->path);
	if (last >= GENERATION_NUMBER_MAX)
		return snap_fail(err, SNAP_E_PREFLIGHT, EOVERFLOW, "store '%s' is worn out",
				 store->path);
	(void)snprintf(ret_name, STORE_NAME_MAX, "%s%lu", GENERATION_PREFIX, last + 1);
	return 0;
}

int store_take_lease(struct store *store, uint64_t lease_ms, struct snap_error *err)
{
	int r = lease_take(store->fd, lease_ms, store->lease_token, err);

	store->holds_lease = r == 0;
	return r;
}

void store_give_up_lease(struct store *store)
{
	drop_lease(store);
}

static int make_generation(const struct store *store, const char *name,
			   char ret_name[STORE_NAME_MAX], struct snap_error *err)
{
	char free_name[STORE_NAME_MAX];

	for (int i = 0; i < BEGIN_ATTEMPTS; i++) {
		unsigned long last = 0;
		int r = name ? 0 : folder_each(store->fd, find_last, &last);

		if (r < 0)
			return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot list '%s'", store->path);
		if (last >= GENERATION_NUMBER_MAX)
			return snap_fail(err, SNAP_E_PREFLIGHT, EOVERFLOW, "store '%s' is worn out",
					 store->path);
		(void)snprintf(free_name, sizeof(free_name), "%s%lu", GENERATION_PREFIX, last + 1);
		if (mkdirat(store->fd, name ? name : free_name, 0700) == 0) {
			(void)snprintf(ret_name, STORE_NAME_MAX, "%s", name ? name : free_name);
			return 0;
		}
		if (errno != EEXIST || name)
			break;
	}
	return snap_fail(
		err, errno == EEXIST ? SNAP_E_USAGE : io_write_code(errno, SNAP_E_INTERNAL), errno,
		"cannot make generation '%s' in '%s'", name ? name : free_name, store->path);
}

int store_begin(struct store *store, const char *name, uint64_t lease_ms,
		char ret_name[STORE_NAME_MAX], struct snap_error *err)
{
	int r;

	if (name && !store_name_is_valid(name)) {
		(void)snap_fail(err, SNAP_E_USAGE, 0, "'%.64s' is no generation's name", name);
		return -EINVAL;
	}
	if (store->holds_lease)
		return snap_fail(err, SNAP_E_INTERNAL, EALREADY, "store '%s'", store->path);
	r = store_take_lease(store, lease_ms, err);
	if (r < 0) {
		snap_error_prefix(err, "store '%s'", store->path);
		return r;
	}
	r = make_generation(store, name, ret_name, err);
	if (r < 0)
		drop_lease(store);
	return r;
}

void store_abort(struct store *store, const char *name)
{
	char current[STORE_NAME_MAX] = "";

	(void)store_current(store, current, NULL);
	if (store_name_is_valid(name) && strcmp(name, current) != 0)
		(void)generation_remove(store->fd, name);
	drop_lease(store);
}

void store_bury(struct store *store, const char *name, uint64_t pid_ns)
{
	if (lease_drop_of_dead(store->fd, pid_ns) == 0)
		store_abort(store, name);
}

static int sync_generation(const struct store *store, const char *name, struct snap_error *err)
{
	snap_cleanup_close int fd = store_open_generation(store, name, err);
	struct stat st;
	int r;

	if (fd < 0)
		return fd;
	if (fstatat(fd, MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "generation '%s' has no %s", name,
				 MANIFEST_NAME);
	r = folder_sync(fd);
	if (r == 0 && fsync(store->fd) < 0 && errno != EINVAL)
		r = -errno;
	if (r < 0)
		return snap_fail(err, io_write_code(-r, SNAP_E_INTERNAL), -r,
				 "cannot sync generation '%s'", name);
	return 0;
}

struct collection {
	unsigned long current;
	unsigned long previous; /* newest complete one but current */
};

static int find_previous(int dir_fd, const char *name, void *arg)
{
	struct collection *collection = arg;
	unsigned long number = generation_number(name);
	char path[STORE_NAME_MAX + sizeof(MANIFEST_NAME) + 1];
	struct stat st;

	if (number == 0 || number == collection->current || number < collection->previous)
		return 0;
	(void)snprintf(path, sizeof(path), "%.*s/%s", STORE_NAME_MAX, name, MANIFEST_NAME);
	if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		collection->previous = number;
	return 0;
}

static int collect_generation(int dir_fd, const char *name, void *arg)
{
	const struct collection *collection = arg;
	unsigned long number = generation_number(name);

	if (number != 0 && number != collection->current && number != collection->previous)
		(void)generation_remove_unused(dir_fd, name);
	return 0;
}

bool store_name_is_temporary(const char *name)
{
	static const char *const prefixes[] = {"current.tmp.", "lease.tmp.", "lease.stale."};

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
			return true;
	}
	return false;
}

static int collect_temporary(int dir_fd, const char *name, void *arg)
{
	(void)arg;
	if (store_name_is_temporary(name))
		(void)folder_remove(dir_fd, name);
	return 0;
}

/* with the lease nobody makes a generation, or is at work on one without holding it: an incomplete
 * one that is not held is somebody's wreck */
static void collect(const struct store *store, const char *current)
{
	struct collection collection = {.current = generation_number(current)};

	if (folder_each(store->fd, find_previous, &collection) == 0)
		(void)folder_each(store->fd, collect_generation, &collection);
}

static int replace_current(const struct store *store, const char *name, struct snap_error *err)
{
	snap_cleanup_close int lock = lease_lock(store->fd);
	char text[STORE_NAME_MAX + 2];
	int n;

	if (lock == -EBUSY)
		return snap_fail(err, SNAP_E_PREFLIGHT, EBUSY, "store '%s' is locked", store->path);
	if (lease_check(store->fd, store->lease_token) < 0) {
		(void)snap_fail(err, SNAP_E_PREFLIGHT, 0,
				"the lease on store '%s' was taken by another capture",
				store->path);
		return -ESTALE;
	}
	if (lock >= 0)
		(void)folder_each(store->fd, collect_temporary, NULL);
	n = snprintf(text, sizeof(text), "%s\n", name);
	return io_replace_file(store->fd, CURRENT_NAME, text, (size_t)n, 0600, err);
}

int store_publish(struct store *store, const char *name, struct snap_error *err)
{
	int r;

	if (!store->holds_lease) {
		r = store_take_lease(store, PUBLISH_LEASE_MS, err);
		if (r < 0)
			return r;
	}
	r = sync_generation(store, name, err);
	if (r == 0)
		r = replace_current(store, name, err);
	if (r == 0)
		collect(store, name);
	drop_lease(store);
	return r;
}

void store_retract(const struct store *store, const char *name)
{
	char current[STORE_NAME_MAX];

	if (store_current(store, current, NULL) == 0 && strcmp(current, name) == 0)
		(void)unlinkat(store->fd, CURRENT_NAME, 0);
}

int store_finish(struct store *store, const char *name, struct snap_error *err)
{
	int r = sync_generation(store, name, err);

	drop_lease(store);
	return r;
}

int store_check_space(const struct store *store, uint64_t bytes, struct snap_error *err)
{
	struct statvfs vfs;
	uint64_t available;

	if (fstatvfs(store->fd, &vfs) < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot ask '%s' for free space",
				 store->path);
	if (__builtin_mul_overflow((uint64_t)vfs.f_bavail, (uint64_t)vfs.f_frsize, &available))
		available = UINT64_MAX;
	if (available >= bytes)
		return 0;
	(void)snap_fail(err, SNAP_E_PREFLIGHT, 0,
			"store '%s' has %" PRIu64 " MiB free, the snapshot needs %" PRIu64 " MiB",
			store->path, available / MIB, bytes / MIB + (bytes % MIB != 0));
	return -ENOSPC;
}

bool store_is_memory(const struct store *store)
{
	struct statfs fs;

	return fstatfs(store->fd, &fs) == 0 &&
	       (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

bool store_is_writable(const struct store *store)
{
	struct statvfs vfs;

	if (fstatvfs(store->fd, &vfs) < 0 || (vfs.f_flag & ST_RDONLY) != 0)
		return false;
	return faccessat(store->fd, ".", W_OK | X_OK, AT_EACCESS) == 0;
}
