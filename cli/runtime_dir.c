/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The base's lock orders claims, releases and the removal of leftovers; a name's lock says that its
 * container runs. Below the base everything is reached from descriptors and no link is followed: a
 * name's folder is its container's user's.
 */
#include "cli/runtime_dir.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/parse.h"

#define SOCKET_NAME	 "control.sock"
#define DERIVED_MAX	 40   /* bytes of the command's name in a name */
#define NUMBERS_MAX	 1000 /* of containers of one command */
#define LOCK_AGAIN_MS	 10
#define LOCK_PATIENCE_MS 2000
#define BASES_MAX	 4
#define BASE_ATTEMPTS	 10
#define TRIED_MAX	 640 /* bytes of a message about them */
#define OPEN_FOLDER	 (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define PLAIN_NAME	 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

struct base {
	char path[PATH_MAX];
	mode_t mode;
};

/* who may look into the first one must know a name; in the others nobody else has business */
static unsigned int list_bases(struct base ret[BASES_MAX])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	unsigned int n = 0, uid = geteuid();

	ret[n].mode = 0711;
	(void)snprintf(ret[n++].path, PATH_MAX, "/run/snapinit");
	ret[n].mode = 0700;
	if (runtime && runtime[0] == '/' &&
	    snprintf(ret[n].path, PATH_MAX, "%s/snapinit", runtime) < PATH_MAX)
		n++;
	ret[n].mode = 0700;
	(void)snprintf(ret[n++].path, PATH_MAX, "/run/user/%u/snapinit", uid);
	ret[n].mode = 0700;
	(void)snprintf(ret[n++].path, PATH_MAX, "/tmp/snapinit-%u", uid);
	return n;
}

/* one that others can write to would let them choose whom we talk to */
static int open_base(const char *path)
{
	snap_cleanup_close int fd = open(path, OPEN_FOLDER);
	struct stat st;

	/* who may not list it may still know a name */
	if (fd < 0 && errno == EACCES)
		fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0)
		return -EPERM;
	return TAKE_FD(fd);
}

static bool is_removed(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* one of ours with nobody in it goes; locked, so that nobody is about to come in */
static void remove_base(const char *path, int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && st.st_uid == geteuid())
		(void)rmdir(path);
}

/* others hold it for a moment; an engine that is root here, too, might hold it for ever */
static int lock_base(int fd)
{
	const struct timespec pause = {.tv_nsec = LOCK_AGAIN_MS * (long)NS_PER_MS};
	uint64_t deadline = deadline_after_ms(LOCK_PATIENCE_MS);

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (deadline_left_ms(deadline) == 0)
			return -EBUSY;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

/* -ESTALE: the last container in it went while we waited */
static int try_base(const struct base *base)
{
	bool made = mkdir(base->path, base->mode) == 0;
	snap_cleanup_close int fd = FD_NONE;
	int r;

	if (!made && errno != EEXIST)
		return -errno;
	fd = open_base(base->path);
	if (fd < 0)
		return fd;
	if (made && fchmod(fd, base->mode) < 0)
		return -errno;
	r = lock_base(fd);
	if (r < 0)
		return r;
	return is_removed(fd) ? -ESTALE : TAKE_FD(fd);
}

static int make_base(const struct base *base)
{
	int fd = -ESTALE;

	for (unsigned int i = 0; fd == -ESTALE && i < BASE_ATTEMPTS; i++)
		fd = try_base(base);
	return fd;
}

/* a name's folder, locked; -EWOULDBLOCK: its container runs */
static int open_locked(int base_fd, const char *name)
{
	snap_cleanup_close int fd = openat(base_fd, name, OPEN_FOLDER);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return TAKE_FD(fd);
}

/* what the container's user has put there besides stays, and the folder with it */
static void remove_folder(int base_fd, const char *name, int fd)
{
	(void)unlinkat(fd, SOCKET_NAME, 0);
	(void)unlinkat(base_fd, name, AT_REMOVEDIR);
}

typedef void (*entry_fn)(int base_fd, const char *name, void *arg);

static void each_entry(int base_fd, entry_fn fn, void *arg)
{
	int copy = openat(base_fd, ".", OPEN_FOLDER);
	snap_cleanup_closedir DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	const struct dirent *entry;

	if (!dir) {
		(void)fd_close(copy);
		return;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			fn(base_fd, entry->d_name, arg);
	}
}

static void remove_leftover(int base_fd, const char *name, void *arg)
{
	snap_cleanup_close int fd = open_locked(base_fd, name);

	(void)arg;
	if (fd >= 0)
		remove_folder(base_fd, name, fd);
}

/* the folder as the container's user needs it; its descriptor or -errno */
static int take_name(int base_fd, const char *name, const struct credentials *user)
{
	snap_cleanup_close int fd = FD_NONE;

	if (mkdirat(base_fd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open_locked(base_fd, name);
	if (fd < 0)
		return fd;
	(void)unlinkat(fd, SOCKET_NAME, 0);
	if (fchmod(fd, 0700) < 0 ||
	    fchown(fd, user ? user->uid : geteuid(), user ? user->gid : getegid()) < 0) {
		int saved = errno;

		remove_folder(base_fd, name, fd);
		return -saved;
	}
	return TAKE_FD(fd);
}

static bool is_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < RUNTIME_NAME_MAX && isalnum((unsigned char)name[0]) &&
	       strspn(name, PLAIN_NAME) == len;
}

static void derive_name(const char *command, unsigned int number, char ret[RUNTIME_NAME_MAX])
{
	const char *slash = strrchr(command, '/');
	int used = snprintf(ret, DERIVED_MAX, "%s", slash ? slash + 1 : command);

	if (used >= DERIVED_MAX)
		used = DERIVED_MAX - 1;
	for (char *c = ret; *c; c++) {
		if (!strchr(PLAIN_NAME, *c))
			*c = '_';
	}
	if (!isalnum((unsigned char)ret[0]))
		used = snprintf(ret, DERIVED_MAX, "engine");
	if (number > 1)
		(void)snprintf(ret + used, RUNTIME_NAME_MAX - (size_t)used, "-%u", number);
}

/* *ret has its base_fd; 0, -ENAMETOOLONG, -EWOULDBLOCK (taken) or another -errno */
static int claim_in(const char *base, const char *name, const char *command,
		    const struct credentials *user, struct runtime_dir *ret)
{
	int fd = -EWOULDBLOCK;

	for (unsigned int number = 1; fd == -EWOULDBLOCK && number <= NUMBERS_MAX; number++) {
		if (name)
			(void)snprintf(ret->name, sizeof(ret->name), "%s", name);
		else
			derive_name(command, number, ret->name);
		if (snprintf(ret->socket, sizeof(ret->socket), "%s/%s/" SOCKET_NAME, base,
			     ret->name) >= (int)sizeof(ret->socket))
			return -ENAMETOOLONG;
		fd = take_name(ret->base_fd, ret->name, user);
		if (name)
			break;
	}
	if (fd >= 0)
		ret->fd = fd;
	return fd < 0 ? fd : 0;
}

struct tried {
	char text[TRIED_MAX];
	size_t used;
};

static void note_tried(struct tried *tried, const char *base, const char *why)
{
	int n = snprintf(tried->text + tried->used, sizeof(tried->text) - tried->used,
			 "%s'%.100s' (%s)", tried->used > 0 ? ", " : "", base, why);

	if (n > 0 && tried->used + (size_t)n < sizeof(tried->text))
		tried->used += (size_t)n;
	tried->text[tried->used] = '\0';
}

int runtime_dir_claim(const char *name, const char *command, const struct credentials *user,
		      struct runtime_dir *ret, struct snap_error *err)
{
	struct base bases[BASES_MAX];
	unsigned int n = list_bases(bases);
	struct tried tried = {.used = 0};
	int r = -ENOENT;

	*ret = (struct runtime_dir)RUNTIME_DIR_NONE;
	if (name && !is_name(name))
		return snap_fail_plain(
			err, SNAP_E_USAGE, EINVAL,
			"'%s' is no name: letters, digits, '_', '.', '-', at most %d", name,
			RUNTIME_NAME_MAX - 1);
	for (unsigned int i = 0; i < n; i++) {
		ret->base_fd = make_base(&bases[i]);
		if (ret->base_fd < 0) {
			r = ret->base_fd;
			note_tried(&tried, bases[i].path,
				   r == -EPERM ? "another user's, or others may write to it"
					       : strerror(-r));
			continue;
		}
		each_entry(ret->base_fd, remove_leftover, NULL);
		r = claim_in(bases[i].path, name, command, user, ret);
		if (r < 0)
			remove_base(bases[i].path, ret->base_fd);
		(void)flock(ret->base_fd, LOCK_UN);
		if (r == 0)
			return 0;
		ret->base_fd = fd_close(ret->base_fd);
		if (r == -EWOULDBLOCK && name)
			return snap_fail_plain(err, SNAP_E_USAGE, EEXIST,
					       "a container of the name '%s' runs: choose another "
					       "--name, or end it (snapctl ps)",
					       name);
		note_tried(&tried, bases[i].path,
			   r == -ENAMETOOLONG ? "too long for a socket's path" : strerror(-r));
	}
	return snap_fail_plain(err, SNAP_E_PREFLIGHT, -r,
			       "no folder for a control socket can be had: %s; set XDG_RUNTIME_DIR "
			       "to a folder of your own, or say where by --control PATH",
			       tried.text);
}

void runtime_dir_release(struct runtime_dir *dir)
{
	if (dir->fd >= 0 && lock_base(dir->base_fd) == 0) {
		remove_folder(dir->base_fd, dir->name, dir->fd);
		/* the path of the base is the socket's without the two names */
		dir->socket[strlen(dir->socket) - strlen(dir->name) - sizeof("/" SOCKET_NAME)] =
			'\0';
		remove_base(dir->socket, dir->base_fd);
	}
	dir->fd = fd_close(dir->fd);
	dir->base_fd = fd_close(dir->base_fd);
}

static int open_socket_below(int base_fd, const char *name)
{
	snap_cleanup_close int dir_fd =
		openat(base_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	snap_cleanup_close int fd = FD_NONE;
	struct stat st;

	if (dir_fd < 0)
		return -errno;
	fd = openat(dir_fd, SOCKET_NAME, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	return S_ISSOCK(st.st_mode) ? TAKE_FD(fd) : -ENOTSOCK;
}

struct visit {
	runtime_dir_fn fn;
	void *arg;
	int result;
};

static void visit_entry(int base_fd, const char *name, void *arg)
{
	struct visit *visit = arg;
	snap_cleanup_close int fd = open_socket_below(base_fd, name);

	if (fd >= 0 && visit->result == 0 && is_name(name))
		visit->result = visit->fn(name, fd, visit->arg);
}

int runtime_dir_each(runtime_dir_fn fn, void *arg)
{
	struct visit visit = {.fn = fn, .arg = arg};
	struct base bases[BASES_MAX];
	unsigned int n = list_bases(bases);

	for (unsigned int i = 0; i < n; i++) {
		snap_cleanup_close int base_fd = open_base(bases[i].path);

		/* XDG_RUNTIME_DIR mostly is /run/user/UID */
		if (base_fd >= 0 && (i == 0 || strcmp(bases[i].path, bases[i - 1].path) != 0))
			each_entry(base_fd, visit_entry, &visit);
	}
	return visit.result;
}

/* for what is a user's: it is theirs alone, and no link or mount of theirs leads elsewhere */
static int open_owned(int dir_fd, const char *name, uint64_t flags, uid_t uid)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	};
	snap_cleanup_close int fd = (int)syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != uid || (st.st_mode & 022) != 0)
		return -EPERM;
	return TAKE_FD(fd);
}

struct others {
	runtime_dir_fn fn;
	void *arg;
	uid_t uid; /* whose base it is */
	int result;
};

static void visit_owned(int base_fd, const char *name, void *arg)
{
	struct others *others = arg;
	snap_cleanup_close int dir_fd = FD_NONE;
	snap_cleanup_close int fd = FD_NONE;
	struct stat st;

	if (others->result != 0 || !is_name(name))
		return;
	dir_fd = open_owned(base_fd, name, O_PATH | O_DIRECTORY, others->uid);
	if (dir_fd >= 0)
		fd = open_owned(dir_fd, SOCKET_NAME, O_PATH, others->uid);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
		others->result = others->fn(name, fd, others->arg);
}

/* "1000" or "snapinit-1000"; false for all that names no other user */
static bool is_of_other(const char *prefix, const char *name, uid_t *ret)
{
	size_t len = strlen(prefix);
	uint64_t uid;

	if (strncmp(name, prefix, len) != 0 || parse_u64(name + len, &uid) < 0 ||
	    uid >= UINT32_MAX || uid == geteuid())
		return false;
	*ret = (uid_t)uid;
	return true;
}

static void visit_base(int dir_fd, const char *name, struct others *others)
{
	snap_cleanup_close int base_fd =
		open_owned(dir_fd, name, O_RDONLY | O_DIRECTORY, others->uid);

	if (base_fd >= 0)
		each_entry(base_fd, visit_owned, others);
}

static void visit_runtime(int run_fd, const char *name, void *arg)
{
	struct others *others = arg;
	snap_cleanup_close int dir_fd = FD_NONE;

	if (!is_of_other("", name, &others->uid))
		return;
	/* each is a mount, which root has made */
	dir_fd = openat(run_fd, name, OPEN_FOLDER);
	if (dir_fd >= 0)
		visit_base(dir_fd, "snapinit", others);
}

static void visit_temporary(int tmp_fd, const char *name, void *arg)
{
	struct others *others = arg;

	if (is_of_other("snapinit-", name, &others->uid))
		visit_base(tmp_fd, name, others);
}

int runtime_dir_each_of_others(runtime_dir_fn fn, void *arg)
{
	snap_cleanup_close int run_fd = FD_NONE;
	snap_cleanup_close int tmp_fd = FD_NONE;
	struct others others = {.fn = fn, .arg = arg};

	if (geteuid() != 0)
		return 0;
	run_fd = open("/run/user", OPEN_FOLDER);
	if (run_fd >= 0)
		each_entry(run_fd, visit_runtime, &others);
	tmp_fd = open("/tmp", OPEN_FOLDER);
	if (tmp_fd >= 0)
		each_entry(tmp_fd, visit_temporary, &others);
	return others.result;
}

static int open_own_socket(const char *name)
{
	struct base bases[BASES_MAX];
	unsigned int n = list_bases(bases);
	int result = -ENOENT;

	for (unsigned int i = 0; i < n && is_name(name); i++) {
		snap_cleanup_close int base_fd = open_base(bases[i].path);
		int fd = base_fd < 0 ? base_fd : open_socket_below(base_fd, name);

		if (fd >= 0)
			return fd;
		if (fd == -EACCES)
			result = fd;
	}
	return result;
}

struct wanted {
	const char *name;
	int fd;
};

static int take_wanted(const char *name, int socket_fd, void *arg)
{
	struct wanted *wanted = arg;

	if (strcmp(name, wanted->name) != 0)
		return 0;
	if (wanted->fd >= 0)
		return -ENOTUNIQ;
	wanted->fd = fd_dup_above(socket_fd, 3);
	return wanted->fd < 0 ? wanted->fd : 0;
}

int runtime_dir_open_socket(const char *name)
{
	struct wanted wanted = {.name = name, .fd = FD_NONE};
	int fd = open_own_socket(name), r;

	if (fd != -ENOENT)
		return fd;
	r = runtime_dir_each_of_others(take_wanted, &wanted);
	if (r == 0 && wanted.fd >= 0)
		return wanted.fd;
	(void)fd_close(wanted.fd);
	return r < 0 ? r : -ENOENT;
}
