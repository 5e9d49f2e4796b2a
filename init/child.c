/* SPDX-License-Identifier: Apache-2.0 */
#include "init/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"

#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND      127

#define BURN_STACK 16384

static int set_last_pid(pid_t pid)
{
	snap_cleanup_close int fd = FD_NONE;
	char text[16];
	int n;

	fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = snprintf(text, sizeof(text), "%d", (int)pid);
	return io_write_full(fd, text, (size_t)n);
}

static int exit_at_once(void *arg)
{
	(void)arg;
	return 0;
}

/* use up one pid; the pid or -errno */
static pid_t burn_pid(void)
{
	static char stack[BURN_STACK] __attribute__((aligned(64)));
	pid_t pid = clone(exit_at_once, stack + sizeof(stack), CLONE_VM | CLONE_VFORK, NULL);

	if (pid < 0)
		return -errno;
	/* no exit signal: PID 1's signal descriptor hears nothing of these */
	while (waitpid(pid, NULL, __WCLONE) < 0 && errno == EINTR)
		;
	return pid;
}

int child_move_pid_cursor(pid_t base)
{
	/* /proc/sys is read-only in most containers, and the file needs CHECKPOINT_RESTORE */
	if (set_last_pid(base - 1) == 0)
		return 0;

	/* the cursor goes round once at most: twice base is far more than is ever needed */
	for (pid_t tries = 0; tries < 2 * base; tries++) {
		pid_t pid = burn_pid();

		if (pid < 0)
			return pid;
		if (pid >= base - 1)
			return 0;
	}
	return -EAGAIN;
}

static int before_exec(void *arg)
{
	const struct child_plan *plan = arg;

	if (plan->environment)
		environment_write_listen_pid(plan->environment, getpid());
	for (int fd = 0; fd < 3 && !plan->contained; fd++) {
		if (plan->closed_stdio & (1 << fd))
			(void)fd_close(fd);
	}
	return 0;
}

int child_boot(const struct child_plan *plan, struct pidref *ret, struct snap_error *err)
{
	struct process_spec spec = {
		.argv = plan->argv,
		.envp = plan->envp,
		.fds = plan->fds,
		.n_fds = plan->n_fds,
		.close_fds = plan->contained,
		.new_session = plan->contained || plan->own_session,
		.new_group = !plan->contained && !plan->own_session,
		.foreground = !plan->contained && !plan->own_session,
		.controlling = plan->own_session && !plan->contained,
		.mask = &plan->signals->mask,
		.ignored = &plan->signals->ignored,
		.prepare = before_exec,
		.prepare_arg = (void *)(uintptr_t)plan,
	};
	int r;

	/* where the cursor cannot be moved, at least the root gets the wanted pid if that is free
	 */
	if (plan->pid_base > 0 && child_move_pid_cursor(plan->pid_base) < 0) {
		spec.pid = plan->pid_base;
		r = process_spawn(&spec, ret, err);
		if (r >= 0)
			goto started;
		spec.pid = 0;
	}
	r = process_spawn(&spec, ret, err);
started:
	if (r != PROCESS_EXEC_FAILED)
		return r;
	return err->errnum == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
}

int child_exit_status(int wait_status)
{
	if (WIFSIGNALED(wait_status))
		return 128 + WTERMSIG(wait_status);
	return WEXITSTATUS(wait_status);
}
