/* SPDX-License-Identifier: Apache-2.0 */
/* Does the kernel do, for us and here, what a capture and a wake ask of it? */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/checks.h"
#include "common/fd.h"
#include "common/io.h"

#define KERNEL_MAJOR   5
#define KERNEL_MINOR   9
#define FREE_PID_TRIES 64

void probe_kernel_version(const struct doctor *doctor, struct finding *ret)
{
	const char *release = doctor->host.fingerprint.kernel_release;
	int major = 0, minor = 0;

	finding_observed(ret, "%s", release);
	finding_required(ret, ">= 5.9 (CAP_CHECKPOINT_RESTORE)");
	if (sscanf(release, "%d.%d", &major, &minor) != 2)
		finding_set(ret, CHECK_WARN, "the kernel's release is no version number", NULL);
	else if (major > KERNEL_MAJOR || (major == KERNEL_MAJOR && minor >= KERNEL_MINOR))
		finding_set(ret, CHECK_OK, "new enough", NULL);
	else
		finding_set(ret, CHECK_FAIL, "this kernel has no CAP_CHECKPOINT_RESTORE",
			    "use Linux 5.9 or newer");
}

/* seize a child as CRIU does, stop it, let it go */
static int seize_child(void)
{
	int r = 0, status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		for (;;)
			(void)pause();
	}
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, pid, 0, 0) < 0)
		r = -errno;
	else if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		r = -EIO;
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, __WALL);
	return r;
}

void probe_ptrace(const struct doctor *doctor, struct finding *ret)
{
	int r = seize_child();

	(void)doctor;
	finding_call(ret, r);
	finding_required(ret, "PTRACE_SEIZE of a child works");
	if (r == 0)
		finding_set(ret, CHECK_OK, "a process can be stopped and looked at", NULL);
	else
		finding_set(
			ret, CHECK_FAIL, "no process can be traced, so none can be dumped",
			"allow ptrace in the seccomp profile; kernel.yama.ptrace_scope below 3");
}

void probe_kcmp(const struct doctor *doctor, struct finding *ret)
{
	pid_t self = getpid();
	long result = syscall(SYS_kcmp, self, self, KCMP_VM, 0, 0);
	int r = result < 0 ? -errno : 0;

	finding_call(ret, r);
	finding_required(ret, "kcmp(2) works");
	if (r == 0)
		finding_set(ret, CHECK_OK, "shared descriptors can be told from equal ones", NULL);
	else if (strcmp(doctor->host.fingerprint.setting, "C") == 0)
		finding_set(ret, CHECK_WARN,
			    "kcmp is blocked; only a dump wants it, and there is none in setting C",
			    NULL);
	else
		finding_set(
			ret, CHECK_FAIL, "kcmp is blocked, a dump is impossible",
			"allow kcmp in the seccomp profile (Docker's default does since 4.8 kernels "
			"with CAP_SYS_PTRACE)");
}

/* a pid that is free now; races are tried again */
static pid_t free_pid(pid_t from)
{
	pid_t pid = from;

	while (kill(pid, 0) == 0 || errno == EPERM)
		pid++;
	return pid;
}

static int clone_at_pid(void)
{
	int r = -EEXIST;

	for (int i = 0; i < FREE_PID_TRIES && r == -EEXIST; i++) {
		pid_t wanted[1] = {free_pid(20000 + i)};
		struct clone_args args = {
			.exit_signal = SIGCHLD,
			.set_tid = (uint64_t)(uintptr_t)wanted,
			.set_tid_size = 1,
		};
		pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));

		if (pid == 0)
			_exit(0);
		r = pid < 0 ? -errno : 0;
		if (pid > 0 && waitpid(pid, NULL, 0) == pid && pid != wanted[0])
			r = -EIO;
	}
	return r;
}

void probe_set_tid(const struct doctor *doctor, struct finding *ret)
{
	int r = clone_at_pid();

	finding_call(ret, r);
	finding_required(ret, "clone3(2) with a wanted pid works");
	if (r == 0)
		finding_set(ret, CHECK_OK, "a tree gets its pids back", NULL);
	else if (r == -ENOSYS)
		finding_set(ret, CHECK_WARN,
			    "clone3 is hidden by a seccomp filter; pids are then set by "
			    "ns_last_pid, if that can be written",
			    "allow clone3 in the seccomp profile");
	else if (r == -EPERM && doctor->worker_caps != 0)
		finding_set(ret, CHECK_OK, "not for us, but snapworker has file capabilities",
			    NULL);
	else if (r == -EPERM &&
		 (doctor->host.fingerprint.caps_effective >> CAP_CHECKPOINT_RESTORE & 1))
		finding_set(
			ret, CHECK_WARN,
			"not in this pid namespace, which belongs to another user namespace; in a "
			"pid namespace of our own it works",
			"unshare the pid namespace together with the user namespace");
	else
		finding_set(ret, CHECK_FAIL, "a tree cannot get its pids back",
			    "add CAP_CHECKPOINT_RESTORE (docker run --cap-add CHECKPOINT_RESTORE)");
}

void probe_ns_last_pid(const struct doctor *doctor, struct finding *ret)
{
	snap_cleanup_close int fd = FD_NONE;
	char text[32];
	ssize_t n = io_read_line(AT_FDCWD, "/proc/sys/kernel/ns_last_pid", text, sizeof(text));
	int r = n < 0 ? (int)n : 0;

	(void)doctor;
	if (r == 0) {
		fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
		r = fd < 0 ? -errno : io_write_full(fd, text, (size_t)n); /* what it was */
	}
	finding_call(ret, r);
	finding_required(ret, "writing it works (not needed where sys.set_tid is ok)");
	if (r == 0)
		finding_set(ret, CHECK_OK, "the next pid can be chosen", NULL);
	else
		finding_set(ret, CHECK_WARN,
			    "the next pid cannot be chosen; snapinit uses up pids instead, which "
			    "takes milliseconds more at a capture",
			    NULL);
}

void probe_pidfd(const struct doctor *doctor, struct finding *ret)
{
	int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	int r = fd < 0 ? -errno : 0;

	(void)doctor;
	(void)fd_close(fd);
	finding_call(ret, r);
	finding_required(ret, "pidfd_open(2) works");
	if (r == 0)
		finding_set(ret, CHECK_OK, "processes are held by descriptor", NULL);
	else
		finding_set(ret, CHECK_WARN, "processes are held by number only",
			    "allow pidfd_open in the seccomp profile");
}

void probe_userfaultfd(const struct doctor *doctor, struct finding *ret)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	int r = fd < 0 ? -errno : 0;

	(void)doctor;
	(void)fd_close(fd);
	finding_call(ret, r);
	finding_required(ret, "nothing: only lazy wakes would use it");
	if (r == 0)
		finding_set(ret, CHECK_OK, "available", NULL);
	else
		finding_set(ret, CHECK_WARN, "no lazy wakes here; no wake of this version is lazy",
			    NULL);
}

void probe_io_uring(const struct doctor *doctor, struct finding *ret)
{
	struct io_uring_params params = {.flags = 0};
	int fd = (int)syscall(SYS_io_uring_setup, 1, &params);
	int r = fd < 0 ? -errno : 0;

	(void)doctor;
	(void)fd_close(fd);
	finding_call(ret, r);
	finding_required(ret, "nothing: an engine that holds a ring cannot be dumped");
	/* both ways are fine: where engines can have rings, the audit finds those that do */
	if (r == 0)
		finding_set(ret, CHECK_OK,
			    "engines can make rings; one that holds a ring is refused at the "
			    "capture by name (UV_USE_IO_URING=0 keeps node from it)",
			    NULL);
	else
		finding_set(ret, CHECK_OK,
			    "engines can make no rings, so none is in the way; wakes read page "
			    "files by pread",
			    NULL);
}
