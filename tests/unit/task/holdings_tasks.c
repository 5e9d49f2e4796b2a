/* SPDX-License-Identifier: Apache-2.0 */
/* what a process holds: processes and threads themselves */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"

#include "tests/unit/task/holdings_internal.h"

static int hold_nothing(void)
{
	return 0;
}

static int hold_posix_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_NONE};
	timer_t timer;

	return holding_kept(timer_create(CLOCK_MONOTONIC, &event, &timer));
}

static int hold_aio(void)
{
	aio_context_t context = 0;

	return holding_kept(syscall(SYS_io_setup, 8, &context));
}

static int hold_stopped_child(void)
{
	if (holding_fork() == 0) {
		(void)raise(SIGSTOP);
		holding_wait();
	}
	return 0;
}

static int hold_zombie(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return holding_kept(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT));
}

static int hold_shared_fd_table(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)fd;
	return holding_kept(clone((int (*)(void *))(void (*)(void))holding_wait,
				  stack + sizeof(stack), CLONE_FILES | SIGCHLD, NULL));
}

static int hold_shared_memory_process(void)
{
	static char stack[65536] __attribute__((aligned(16)));

	return holding_kept(clone((int (*)(void *))(void (*)(void))holding_wait,
				  stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL));
}

static void *wait_in_thread(void *arg)
{
	holding_wait();
	return arg;
}

static int hold_thread(void)
{
	pthread_t thread;

	return -pthread_create(&thread, NULL, wait_in_thread, NULL);
}

static int hold_chroot(void)
{
	return holding_fork() == 0 ? (holding_kept(chroot(holding_folder())), holding_wait(), 0)
				   : 0;
}

static int hold_deleted_directory(void)
{
	char name[PATH_MAX];

	holding_path(name, sizeof(name), "directory");
	if (mkdir(name, 0700) < 0 || chdir(name) < 0)
		return -errno;
	return holding_kept(rmdir(name));
}

static int install_filter(unsigned int flags)
{
	struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
	struct sock_fprog program = {1, &allow};

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return holding_kept(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

static int hold_seccomp_notify(void)
{
	return install_filter(SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

static int hold_seccomp_filter(void)
{
	return install_filter(0);
}

static int hold_traced_child(void)
{
	pid_t pid = holding_fork();

	if (pid == 0)
		holding_wait();
	return holding_kept(ptrace(PTRACE_SEIZE, pid, NULL, NULL));
}

static int hold_other_uid(void)
{
	if (geteuid() != 0)
		return -EPERM;
	if (holding_fork() == 0) {
		(void)!setresuid(1000, 1000, 1000);
		holding_wait();
	}
	(void)usleep(20000);
	return 0;
}

static int hold_leftover(void)
{
	pid_t pid = fork();

	/* double fork: the grandchild becomes the reaper's */
	if (pid == 0) {
		if (fork() == 0) {
			(void)close_range(3, ~0U, 0);
			(void)sleep(30);
		}
		_exit(0);
	}
	return holding_kept(waitpid(pid, NULL, 0));
}

static int namespace_child(int flag)
{
	int go[2];
	int r = 0;

	if (pipe(go) < 0)
		return -errno;
	if (holding_fork() == 0) {
		r = holding_kept(unshare(flag));
		(void)!write(go[1], &r, sizeof(r));
		(void)close_range(3, ~0U, 0);
		holding_wait();
	}
	if (read(go[0], &r, sizeof(r)) != sizeof(r))
		r = -EIO;
	(void)close(go[0]);
	(void)close(go[1]);
	return r;
}

#define NAMESPACE(name, flag)                    \
	static int hold_##name##_namespace(void) \
	{                                        \
		return namespace_child(flag);    \
	}

NAMESPACE(user, CLONE_NEWUSER)
NAMESPACE(mnt, CLONE_NEWNS)
NAMESPACE(net, CLONE_NEWNET)
NAMESPACE(ipc, CLONE_NEWIPC)
NAMESPACE(uts, CLONE_NEWUTS)
NAMESPACE(cgroup, CLONE_NEWCGROUP)
NAMESPACE(pid_for_children, CLONE_NEWPID)
NAMESPACE(time_for_children, 0x80 /* CLONE_NEWTIME */)

/* the caller moves into a time namespace that it makes */
static int enter_time_namespace(void)
{
	int fd, r;

	if (unshare(0x80 /* CLONE_NEWTIME */) < 0)
		return -errno;
	fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
	r = holding_kept(fd < 0 ? fd : setns(fd, 0x80));
	(void)close(fd);
	return r;
}

static int hold_time_namespace(void)
{
	int go[2], r = -EIO;

	if (pipe(go) < 0)
		return -errno;
	if (holding_fork() == 0) {
		r = enter_time_namespace();
		(void)!write(go[1], &r, sizeof(r));
		(void)close_range(3, ~0U, 0);
		holding_wait();
	}
	if (read(go[0], &r, sizeof(r)) != sizeof(r))
		r = -EIO;
	(void)close(go[0]);
	(void)close(go[1]);
	return r;
}

/* as a woken engine in setting A: the root, and with it all that it starts */
static int hold_time_namespace_of_all(void)
{
	int r = enter_time_namespace();

	if (r == 0 && holding_fork() == 0)
		holding_wait();
	return r;
}

static int hold_pid_namespace(void)
{
	/* a child that is PID 1 of its own */
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, 0L);

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		holding_wait();
	}
	return holding_kept(pid);
}

static int hold_dead_leader(void)
{
	pthread_t thread;

	if (holding_fork() == 0) {
		(void)pthread_create(&thread, NULL, wait_in_thread, NULL);
		(void)syscall(SYS_exit, 0); /* the leader only */
	}
	(void)usleep(20000);
	return 0;
}

static int hold_vfork(void)
{
	if (holding_fork() == 0) {
		if (vfork() == 0)
			holding_wait();
		_exit(0);
	}
	(void)usleep(20000);
	return 0;
}

static void *unshare_in_thread(void *arg)
{
	long *flags = arg;

	*flags = unshare((int)*flags);
	(void)open("/dev/null", O_RDONLY | O_CLOEXEC);
	holding_wait();
	return NULL;
}

static int thread_unshares(long flags)
{
	static long value;
	pthread_t thread;

	value = flags;
	if (pthread_create(&thread, NULL, unshare_in_thread, &value) != 0)
		return -EAGAIN;
	(void)usleep(50000);
	return value == 0 ? 0 : -EPERM;
}

static int hold_thread_own_files(void)
{
	return thread_unshares(CLONE_FILES);
}

static int hold_thread_own_directory(void)
{
	return thread_unshares(CLONE_FS);
}

static int hold_thread_own_namespace(void)
{
	return thread_unshares(CLONE_NEWNET);
}

static void *change_uid_in_thread(void *arg)
{
	(void)syscall(SYS_setresuid, 1000, 1000, 1000);
	holding_wait();
	return arg;
}

static int hold_thread_own_uid(void)
{
	pthread_t thread;

	if (geteuid() != 0)
		return -EPERM;
	(void)pthread_create(&thread, NULL, change_uid_in_thread, NULL);
	(void)usleep(20000);
	return 0;
}

/* the leader of a session (or group) is gone, a member stays */
static int member_without_leader(bool session)
{
	pid_t leader = holding_fork();

	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (leader == 0) {
		(void)(session ? setsid() : (pid_t)setpgid(0, 0));
		if (holding_fork() == 0) {
			(void)prctl(PR_SET_PDEATHSIG, 0);
			holding_wait();
		}
		(void)usleep(20000);
		_exit(0);
	}
	return holding_kept(waitpid(leader, NULL, 0));
}

static int hold_session_without_leader(void)
{
	return member_without_leader(true);
}

static int hold_group_without_leader(void)
{
	return member_without_leader(false);
}

static int hold_no_new_privileges(void)
{
	return holding_kept(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static int hold_undumpable(void)
{
	return holding_kept(prctl(PR_SET_DUMPABLE, 0));
}

static int hold_ghost_executable(void)
{
	static const char *const words[] = {"sleep", "30", NULL};
	char name[PATH_MAX], command[PATH_MAX + 32];
	pid_t pid;

	holding_path(name, sizeof(name), "sleep");
	(void)snprintf(command, sizeof(command), "cp /bin/sleep %s", name);
	if (system(command) != 0)
		return -ENOENT;
	pid = holding_fork();
	if (pid == 0) {
		(void)execv(name, (char *const *)(uintptr_t)words);
		_exit(1);
	}
	(void)usleep(50000);
	return holding_kept(unlink(name));
}

const struct holding task_holdings[] = {
	DUMPED(nothing),
	DUMPED(posix_timer),
	DUMPED(aio),
	DUMPED(stopped_child),
	DUMPED(zombie),
	DUMPED(shared_fd_table),
	PASSING(shared_memory_process, CRIU_REFUSES, CRIU_REFUSES, "shares its memory"),
	DUMPED(thread),
	DUMPED(chroot),
	DUMPED(deleted_directory),
	REFUSED(seccomp_notify, "seccomp listener"),
	REFUSED(traced_child, "traced"),
	REFUSED(user_namespace, "user namespace"),
	REFUSED(pid_namespace, "pid namespace"),
	BEYOND(pid_for_children_namespace, "pid namespace", "the wake forgets it"),
	BEYOND(mnt_namespace, "mnt namespace", "CRIU cannot restore it"),
	BEYOND(net_namespace, "net namespace", "CRIU cannot restore it"),
	REFUSED(ipc_namespace, "ipc namespace"),
	REFUSED(uts_namespace, "uts namespace"),
	REFUSED(cgroup_namespace, "cgroup namespace"),
	REFUSED(time_for_children_namespace, "time namespace"),
	REFUSED(time_namespace, "time namespace"),
	PRIVILEGED(time_namespace_of_all, "time namespace"),
	REFUSED(dead_leader, "main thread"),
	PASSING(vfork, CRIU_REFUSES, CRIU_REFUSES, "shares its memory"),
	PRIVILEGED(seccomp_filter, "seccomp filter"),
	REFUSED(other_uid, "uid"),
	BEYOND(thread_own_files, "descriptor table", "the wake forgets it"),
	DUMPED(thread_own_directory),
	BEYOND(thread_own_namespace, "net namespace", "the wake forgets it"),
	PRIVILEGED(thread_own_uid, "other rights"),
	DUMPED(session_without_leader),
	DUMPED(group_without_leader),
	DUMPED(no_new_privileges),
	PRIVILEGED(undumpable, "other rights"),
	DUMPED(ghost_executable),
	BEYOND(leftover, "left the engine's tree", "it would be missing after the wake"),
};

const size_t n_task_holdings = ARRAY_LEN(task_holdings);
