/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has no right to make a pid namespace makes a user namespace with it, in which they are root.
 *
 * The order in the child is forced: mounting needs SYS_ADMIN, which limiting the rights takes
 * away; changing the user needs SETUID, which is in every set; the kernel forgets the death signal
 * when ids change, so that comes last. The death of the parent before that is seen at the status
 * pipe, because getppid() says 0 to PID 1 of a namespace.
 */
#include "cli/container.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "common/user_namespace.h"

static int closed_stdio;

void container_set_closed_stdio(int mask)
{
	closed_stdio = mask;
}

static int mount_own_proc(struct snap_error *err)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot make mounts private");
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot mount /proc");
	return 0;
}

/* exactly 0, 1, 2 and the status pipe, which moves out of their way */
static int place_fds(const struct container_spec *spec, int *status_fd, struct snap_error *err)
{
	int lifted[3] = {FD_NONE, FD_NONE, FD_NONE}, r;

	*status_fd = fd_dup_above(*status_fd, 3);
	if (*status_fd < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -*status_fd, "cannot keep a descriptor");
	/* lifted first: one of ours may be the source of another */
	for (int i = 0; i < 3; i++) {
		if (spec->stdio[i] < 0)
			continue;
		lifted[i] = fd_dup_above(spec->stdio[i], 3);
		if (lifted[i] < 0)
			return snap_fail(err, SNAP_E_INTERNAL, -lifted[i],
					 "cannot pass descriptor %d", i);
	}
	for (int i = 0; i < 3; i++) {
		if (lifted[i] >= 0 && dup2(lifted[i], i) < 0)
			return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot pass descriptor %d",
					 i);
		if (lifted[i] < 0 && (closed_stdio & (1 << i)))
			(void)fd_close(i);
	}
	r = fd_close_from_except(3, status_fd, 1);
	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "cannot close descriptors") : 0;
}

static int limit_rights(const struct container_spec *spec, struct snap_error *err)
{
	uint64_t held;
	int r = rights_held(&held, err);

	if (r == 0)
		r = rights_limit(rights_mask(spec->rights, held), err);
	if (r == 0 && spec->user)
		r = credentials_apply(spec->user, err);
	return r;
}

static int tie_to_parent(int status_fd, struct snap_error *err)
{
	struct pollfd pfd = {.fd = status_fd};

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot set the death signal");
	if (poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLERR)) /* nobody reads it any more */
		_exit(125);
	return 0;
}

/* ids that the user namespace's maker has outside of it; of a container without one: unused */
struct outer_ids {
	bool has_namespace;
	uid_t uid;
	gid_t gid;
};

static int become_root(const struct outer_ids *outer, struct snap_error *err)
{
	int r = outer->has_namespace ? user_namespace_map_root(outer->uid, outer->gid) : 0;

	return r < 0 ? snap_fail(err, SNAP_E_PREFLIGHT, -r,
				 "cannot become root of a user namespace (are you root?)")
		     : 0;
}

static void __attribute__((noreturn))
run_child(const struct container_spec *spec, const struct outer_ids *outer, int status_fd)
{
	struct snap_error err = {.code = SNAP_OK};
	int r = place_fds(spec, &status_fd, &err);

	if (r == 0)
		r = become_root(outer, &err);
	if (r == 0)
		r = mount_own_proc(&err);
	if (r < 0 && outer->has_namespace)
		snap_error_prefix(&err, "in a user namespace, for want of root or CAP_SYS_ADMIN "
					"(--cap-add SYS_ADMIN, where this runs in a container)");
	if (r == 0)
		r = limit_rights(spec, &err);
	if (r == 0)
		r = tie_to_parent(status_fd, &err);
	if (r == 0) {
		if (spec->mask)
			(void)sigprocmask(SIG_SETMASK, spec->mask, NULL);
		(void)execv(spec->argv[0], spec->argv);
		(void)snap_fail(&err, SNAP_E_PREFLIGHT, errno, "cannot execute '%s'",
				spec->argv[0]);
	}
	(void)io_write_full(status_fd, &err, sizeof(err));
	_exit(125);
}

static int clone_failed(int errnum, struct snap_error *err)
{
	if (errnum == EPERM || errnum == ENOSPC || errnum == EUSERS)
		return snap_fail(err, SNAP_E_PREFLIGHT, errnum,
				 "cannot make a container: root or CAP_SYS_ADMIN is needed, or, "
				 "without --user, user namespaces; run as root, or give it to the "
				 "container that this runs in (--cap-add SYS_ADMIN)");
	return snap_fail(err, SNAP_E_PREFLIGHT, errnum, "cannot make pid and mount namespaces");
}

/* a child in namespaces of its own, or negative errno */
static pid_t clone_child(const struct container_spec *spec, struct outer_ids *outer)
{
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNS,
		.exit_signal = SIGCHLD,
	};
	pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	/* another user's ids would not be mapped in there */
	if (pid >= 0 || errno != EPERM || spec->user)
		return pid < 0 ? -errno : pid;
	*outer = (struct outer_ids){true, geteuid(), getegid()};
	args.flags |= CLONE_NEWUSER;
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	return pid < 0 ? -errno : pid;
}

int container_start(const struct container_spec *spec, struct pidref *ret, struct snap_error *err)
{
	snap_cleanup_close int read_end = FD_NONE;
	snap_cleanup_close int write_end = FD_NONE;
	struct outer_ids outer = {.has_namespace = false};
	struct snap_error failure;
	int pipe_fds[2];
	pid_t pid;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make a pipe");
	read_end = pipe_fds[0];
	write_end = pipe_fds[1];
	pid = clone_child(spec, &outer);
	if (pid < 0)
		return clone_failed(-pid, err);
	if (pid == 0) {
		read_end = fd_close(read_end); /* else the pipe outlives its reader */
		run_child(spec, &outer, write_end);
	}
	write_end = fd_close(write_end);
	if (io_read_full(read_end, &failure, sizeof(failure)) == (ssize_t)sizeof(failure)) {
		(void)waitpid(pid, NULL, 0);
		if (err)
			*err = failure;
		return failure.errnum > 0 ? -failure.errnum : -EIO;
	}
	if (pidref_open(ret, pid) < 0) /* an unreaped child: the number alone is as good */
		*ret = (struct pidref){.pid = pid, .fd = FD_NONE};
	return 0;
}
