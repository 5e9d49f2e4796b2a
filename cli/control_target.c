/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control_target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/credentials.h"
#include "cli/listener.h"
#include "cli/runtime_dir.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/text.h"

#define LISTED_MAX 512 /* bytes of the names that a message lists */

/*
 * The kernel notes who connects. The host's root is nobody to a snapinit in a user namespace that
 * does not have it, but whoever made the socket is somebody there.
 */
static int connect_as_owner(int fd, int socket_fd, const struct sockaddr_un *addr)
{
	bool is_other = false;
	struct stat st;
	int r;

	if (getuid() == 0 && geteuid() == 0 && fstat(socket_fd, &st) == 0 && st.st_uid != 0)
		is_other = credentials_act_as(st.st_uid, st.st_gid, NULL) == 0;
	r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	if (is_other)
		credentials_return();
	return r;
}

int control_target_connect_file(int socket_fd, uint64_t deadline_ns, pid_t *ret_pid)
{
	int left = deadline_left_ms(deadline_ns);
	/* a listener that accepts nobody has a queue that fills; 0 would be no limit */
	struct timeval patience = {left / 1000, left % 1000 * 1000 + 1};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	snap_cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);
	int r;

	if (fd < 0)
		return -errno;
	if (left >= 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", socket_fd);
	r = connect_as_owner(fd, socket_fd, &addr);
	if (r < 0)
		return r == -EAGAIN ? -ETIMEDOUT : r;
	if (ret_pid) {
		(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
		*ret_pid = peer.pid;
	}
	return TAKE_FD(fd);
}

static int connect_failed(int r, const char *what, struct snap_error *err)
{
	if (r == -ECONNREFUSED)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, -r,
				       "nobody listens at '%s' any more: its snapinit has ended",
				       what);
	return snap_fail(err, r == -ETIMEDOUT ? SNAP_E_NOT_READY : SNAP_E_PREFLIGHT, -r,
			 "no snapinit answers at '%s'", what);
}

static int connect_name(const char *name, uint64_t deadline_ns, struct snap_error *err)
{
	snap_cleanup_close int file_fd = runtime_dir_open_socket(name);
	int fd;

	if (file_fd == -ENOTUNIQ)
		return snap_fail_plain(err, SNAP_E_USAGE, ENOTUNIQ,
				       "several users have a container of the name '%s': choose "
				       "one by --pid (snapctl ps lists them)",
				       name);
	if (file_fd < 0)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, -file_fd,
				       "no container of the name '%s' runs here%s; snapctl ps "
				       "lists those that do",
				       name, file_fd == -EACCES ? " that we may look at" : "");
	fd = control_target_connect_file(file_fd, deadline_ns, NULL);
	return fd < 0 ? connect_failed(fd, name, err) : fd;
}

/* no link within the container leads out of it */
static int open_in_process(uint64_t pid, const char *path, struct snap_error *err)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	snap_cleanup_close int root_fd = FD_NONE;
	char root[64];
	int fd;

	(void)snprintf(root, sizeof(root), "/proc/%llu/root", (unsigned long long)pid);
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0 && (errno == ENOENT || errno == ESRCH))
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, ESRCH,
				       "there is no process %llu here; snapctl ps lists the "
				       "snapinits that run",
				       (unsigned long long)pid);
	if (root_fd < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno,
				 "cannot look into process %llu (its user and root may)",
				 (unsigned long long)pid);
	fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	if (fd < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno,
				 "process %llu does not listen at '%s' (snapctl ps lists the "
				 "snapinits that run, --socket chooses another path)",
				 (unsigned long long)pid, path);
	return fd;
}

static int connect_pid(const struct control_target *target, uint64_t deadline_ns,
		       struct snap_error *err)
{
	char found[LISTENER_PATH_MAX] = INIT_OPTIONS_CONTROL;
	snap_cleanup_close int file_fd = FD_NONE, fd = FD_NONE;
	const char *path = target->path ? target->path : found;
	char root[64];
	pid_t peer = 0;

	(void)snprintf(root, sizeof(root), "/proc/%llu/root", (unsigned long long)target->pid);
	/* where a process that lives has none, what lies at the usual place is another's */
	if (!target->path && listener_path((pid_t)target->pid, found) == -ENOENT &&
	    access(root, F_OK) == 0)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, ENOENT,
				       "process %llu does not listen at '%s', nor elsewhere "
				       "(snapctl ps lists the snapinits that run)",
				       (unsigned long long)target->pid, found);
	if (path[0] != '/')
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "with --pid the socket '%s' is a path in its container, "
				       "which begins with /",
				       path);
	file_fd = open_in_process(target->pid, path, err);
	if (file_fd < 0)
		return file_fd;
	fd = control_target_connect_file(file_fd, deadline_ns, &peer);
	if (fd < 0)
		return connect_failed(fd, path, err);
	/* processes of one container see the same socket: its listener is the one */
	if ((uint64_t)peer != target->pid)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, ESRCH,
				       "process %llu does not listen at '%s', %d does",
				       (unsigned long long)target->pid, path, (int)peer);
	return TAKE_FD(fd);
}

/* -errno without err */
static int connect_path(const char *path, uint64_t deadline_ns)
{
	snap_cleanup_close int file_fd = open(path, O_PATH | O_CLOEXEC);

	return file_fd < 0 ? -errno : control_target_connect_file(file_fd, deadline_ns, NULL);
}

struct search {
	uint64_t deadline_ns;
	int fd; /* to the first that answers */
	unsigned int n;
	char text[LISTED_MAX];
	size_t used;
};

static int add_found(const char *name, int socket_fd, void *arg)
{
	struct search *search = arg;
	pid_t pid = 0;
	int fd = control_target_connect_file(socket_fd, search->deadline_ns, &pid), n;

	if (fd < 0) /* a leftover */
		return 0;
	if (search->n++ == 0)
		search->fd = fd;
	else
		(void)fd_close(fd);
	n = snprintf(search->text + search->used, sizeof(search->text) - search->used,
		     "%s%s (pid %d)", search->n > 1 ? ", " : "", name, (int)pid);
	if (n > 0 && search->used + (size_t)n < sizeof(search->text))
		search->used += (size_t)n;
	search->text[search->used] = '\0';
	return 0;
}

static int connect_only(uint64_t deadline_ns, struct snap_error *err)
{
	struct search search = {.deadline_ns = deadline_ns, .fd = FD_NONE};

	(void)runtime_dir_each(add_found, &search);
	if (search.n == 1)
		return search.fd;
	(void)fd_close(search.fd);
	if (search.n == 0)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, ENOENT,
				       "no snapinit listens at '" INIT_OPTIONS_CONTROL "', and "
				       "snapctl run has started none here; --pid or --socket "
				       "chooses another (snapctl ps lists them)");
	return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
			       "%u containers run here, choose one by --name or --pid: %s",
			       search.n, search.text);
}

int control_target_connect(const struct control_target *target, uint64_t deadline_ns,
			   struct snap_error *err)
{
	int fd;

	if (target->name && target->pid > 0)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "--name and --pid choose the same thing: give one");
	if (target->name)
		return connect_name(target->name, deadline_ns, err);
	if (target->path && strcmp(target->path, "none") == 0)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, ENOENT,
				       "there is no control socket: --socket or SNAPINIT_CONTROL "
				       "is none");
	if (target->pid > 0)
		return connect_pid(target, deadline_ns, err);
	fd = connect_path(target->path ? target->path : INIT_OPTIONS_CONTROL, deadline_ns);
	if (fd >= 0)
		return fd;
	if (!target->path && (fd == -ENOENT || fd == -ECONNREFUSED))
		return connect_only(deadline_ns, err);
	if (fd == -ENOENT)
		return snap_fail_plain(
			err, SNAP_E_PREFLIGHT, ENOENT,
			"no snapinit listens at '%s': there is no such file (snapctl "
			"ps lists the snapinits that run)",
			target->path);
	return connect_failed(fd, target->path ? target->path : INIT_OPTIONS_CONTROL, err);
}
