/* SPDX-License-Identifier: Apache-2.0 */
#include "common/process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"

/* fork, at a wanted pid if there is one */
static pid_t fork_at(pid_t pid)
{
	pid_t set_tid[1] = {pid};
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)set_tid,
		.set_tid_size = 1,
	};

	if (pid == 0)
		return fork();
	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* lift sources above every target first, so that no dup2 hits a source still needed */
static int place_fds(const struct process_spec *spec, int *status_fd)
{
	int lifted[PROCESS_FDS_MAX], keep[PROCESS_FDS_MAX + 1];
	int top = 3;

	for (unsigned int i = 0; i < spec->n_fds; i++)
		top = spec->fds[i].to >= top ? spec->fds[i].to + 1 : top;

	if (*status_fd < top) {
		*status_fd = fd_dup_above(*status_fd, top);
		if (*status_fd < 0)
			return *status_fd;
	}
	for (unsigned int i = 0; i < spec->n_fds; i++) {
		lifted[i] = fd_dup_above(spec->fds[i].from, top);
		if (lifted[i] < 0)
			return lifted[i];
	}
	for (unsigned int i = 0; i < spec->n_fds; i++) {
		if (dup2(lifted[i], spec->fds[i].to) < 0)
			return -errno;
		keep[i] = spec->fds[i].to;
	}
	keep[spec->n_fds] = *status_fd;
	if (spec->close_fds)
		return fd_close_from_except(3, keep, spec->n_fds + 1);
	return 0;
}

static void reset_signals(const struct process_spec *spec)
{
	sigset_t empty;

	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		bool ignore = spec->ignored && sigismember(spec->ignored, sig) == 1;

		(void)signal(sig, ignore ? SIG_IGN : SIG_DFL);
	}
	(void)sigemptyset(&empty);
	(void)sigprocmask(SIG_SETMASK, spec->mask ? spec->mask : &empty, NULL);
}

static int enter_group(const struct process_spec *spec)
{
	if (spec->new_session && setsid() < 0)
		return -errno;
	/* no terminal, or another session's: the session does without */
	if (spec->new_session && spec->controlling)
		(void)ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	if (spec->new_group && setpgid(0, 0) < 0)
		return -errno;
	if (spec->foreground) {
		sigset_t ttou, old;
		int r;

		/* a background group that sets the foreground one would be stopped */
		(void)sigemptyset(&ttou);
		(void)sigaddset(&ttou, SIGTTOU);
		(void)sigprocmask(SIG_BLOCK, &ttou, &old);
		r = tcsetpgrp(STDIN_FILENO, getpgrp()) < 0 ? -errno : 0;
		(void)sigprocmask(SIG_SETMASK, &old, NULL);
		if (r < 0 && r != -ENOTTY && r != -ENXIO && r != -EBADF)
			return r;
	}
	return 0;
}

static void __attribute__((noreturn))
run_child(const struct process_spec *spec, int status_fd, pid_t parent)
{
	int r = place_fds(spec, &status_fd);

	if (r == 0)
		r = enter_group(spec);
	if (r == 0 && spec->death_signal) {
		if (prctl(PR_SET_PDEATHSIG, spec->death_signal) < 0)
			r = -errno;
		else if (getppid() != parent)
			_exit(125);
	}
	if (r == 0) {
		reset_signals(spec);
		if (spec->prepare)
			r = spec->prepare(spec->prepare_arg);
	}
	if (r == 0) {
		if (spec->envp)
			environ = (char **)(uintptr_t)spec->envp;
		if (spec->path)
			(void)execv(spec->path, spec->argv);
		else
			(void)execvp(spec->argv[0], spec->argv);
		r = -errno;
	}
	(void)io_write_full(status_fd, &r, sizeof(r));
	_exit(127);
}

int process_spawn(const struct process_spec *spec, struct pidref *ret, struct snap_error *err)
{
	int pipe_fds[2], child_errno = 0, r;
	snap_cleanup_close int read_end = FD_NONE;
	snap_cleanup_close int write_end = FD_NONE;
	pid_t self = getpid(), pid;
	sigset_t all, old;
	ssize_t n;

	if (spec->n_fds > PROCESS_FDS_MAX)
		return snap_fail(err, SNAP_E_INTERNAL, EINVAL, "too many descriptors to pass");
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make a pipe");
	read_end = pipe_fds[0];
	write_end = pipe_fds[1];

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	pid = fork_at(spec->pid);
	if (pid == 0)
		run_child(spec, write_end, self);
	r = pid < 0 ? errno : 0;
	(void)sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid < 0)
		return snap_fail(err, SNAP_E_INTERNAL, r, "cannot fork");

	write_end = fd_close(write_end);
	n = io_read_full(read_end, &child_errno, sizeof(child_errno));
	if (n == (ssize_t)sizeof(child_errno)) {
		(void)waitpid(pid, NULL, 0);
		(void)snap_fail(err, SNAP_E_USAGE, -child_errno, "cannot execute '%s'",
				spec->path ? spec->path : spec->argv[0]);
		return PROCESS_EXEC_FAILED;
	}
	r = pidref_open(ret, pid);
	if (r < 0) /* cannot happen for an unreaped child, but a pid alone serves as well */
		*ret = (struct pidref){.pid = pid, .fd = FD_NONE};
	return 0;
}

int process_wait(const struct pidref *ref, uint64_t deadline_ns, int *ret_status)
{
	for (;;) {
		struct pollfd pfd = {.fd = ref->fd, .events = POLLIN};
		pid_t pid = waitpid(ref->pid, ret_status, WNOHANG);
		int left = deadline_left_ms(deadline_ns);

		if (pid == ref->pid)
			return 0;
		if (pid < 0 && errno != EINTR)
			return -errno;
		if (left == 0)
			return -ETIMEDOUT;
		if (ref->fd < 0)
			left = 1; /* no pidfd to wait on */
		(void)poll(&pfd, ref->fd >= 0 ? 1 : 0, left);
	}
}
