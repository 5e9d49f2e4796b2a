/* SPDX-License-Identifier: Apache-2.0 */
#include "common/process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
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

#define CHILD_STACK (32U << 10)
#define CHILD_ARGS  1000 /* execvpe() puts a copy of the pointers on the stack */

/* a sanitizer keeps notes about stacks in memory, which a child in our memory would leave wrong */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#	define CHILD_SHARES_MEMORY 0
#else
#	define CHILD_SHARES_MEMORY (CLONE_VM | CLONE_VFORK)
#endif

struct launch {
	const struct process_spec *spec;
	int status_fd;
	pid_t parent;
};

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

/* mind that this may run in the memory of the parent, which waits */
static int run_child(void *arg)
{
	const struct launch *launch = arg;
	const struct process_spec *spec = launch->spec;
	char *const *envp = spec->envp ? spec->envp : environ;
	int status_fd = launch->status_fd;
	int r = place_fds(spec, &status_fd);

	if (r == 0)
		r = enter_group(spec);
	if (r == 0 && spec->death_signal) {
		if (prctl(PR_SET_PDEATHSIG, spec->death_signal) < 0)
			r = -errno;
		else if (getppid() != launch->parent)
			_exit(125);
	}
	if (r == 0) {
		reset_signals(spec);
		if (spec->prepare)
			r = spec->prepare(spec->prepare_arg);
	}
	if (r == 0) {
		if (spec->path)
			(void)execve(spec->path, spec->argv, envp);
		else
			(void)execvpe(spec->argv[0], spec->argv, envp);
		r = -errno;
	}
	(void)io_write_full(status_fd, &r, sizeof(r));
	_exit(127);
}

/* a copy of ours: the C library's clone() does not take a wanted pid */
static pid_t fork_child(const struct launch *launch)
{
	pid_t set_tid[1] = {launch->spec->pid};
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)set_tid,
		.set_tid_size = 1,
	};
	pid_t pid =
		launch->spec->pid == 0 ? fork() : (pid_t)syscall(SYS_clone3, &args, sizeof(args));

	if (pid == 0)
		(void)run_child((void *)(uintptr_t)launch);
	return pid;
}

static bool has_many_args(const struct process_spec *spec)
{
	int n = 0;

	while (n < CHILD_ARGS && spec->argv[n])
		n++;
	return n == CHILD_ARGS;
}

/* as vfork(), with a stack of its own: a copy of our page tables costs as much as a small program
 */
static pid_t start_child(const struct launch *launch)
{
	_Alignas(64) unsigned char stack[CHILD_STACK];

	if (launch->spec->pid != 0 || has_many_args(launch->spec))
		return fork_child(launch);
	return clone(run_child, stack + sizeof(stack), CHILD_SHARES_MEMORY | SIGCHLD,
		     (void *)(uintptr_t)launch);
}

int process_spawn(const struct process_spec *spec, struct pidref *ret, struct snap_error *err)
{
	int pipe_fds[2], child_errno = 0, r;
	snap_cleanup_close int read_end = FD_NONE;
	snap_cleanup_close int write_end = FD_NONE;
	struct launch launch = {.spec = spec, .parent = getpid()};
	sigset_t all, old;
	pid_t pid;
	ssize_t n;

	if (spec->n_fds > PROCESS_FDS_MAX)
		return snap_fail(err, SNAP_E_INTERNAL, EINVAL, "too many descriptors to pass");
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make a pipe");
	read_end = pipe_fds[0];
	write_end = pipe_fds[1];
	launch.status_fd = write_end;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old);
	pid = start_child(&launch);
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
