/* SPDX-License-Identifier: Apache-2.0 */
/* what a process holds: files, anonymous inodes and memory */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"

#include "tests/unit/task/holdings_internal.h"

#ifndef SYS_memfd_secret
#	define SYS_memfd_secret 447
#endif
#ifndef PIDFD_THREAD
#	define PIDFD_THREAD O_EXCL
#endif

#define MIB (1U << 20)

static int hold_pipe(void)
{
	int ends[2];

	return holding_kept(pipe(ends));
}

static int hold_pipe_to_outside(void)
{
	int ends[2];

	/* the reading end was made by our parent: stdout in the agreement test; here, drop one */
	if (pipe(ends) < 0)
		return -errno;
	return holding_kept(close(ends[0]));
}

static int hold_eventfd(void)
{
	return holding_kept(eventfd(3, EFD_CLOEXEC));
}

static int hold_epoll(void)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), fd = eventfd(0, EFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};

	return holding_kept(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event));
}

static int hold_epoll_of_moved_fd(void)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), fd = eventfd(0, EFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 || dup(fd) < 0)
		return -errno;
	return holding_kept(close(fd));
}

static int hold_timerfd(void)
{
	return holding_kept(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
}

static int hold_signalfd(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	return holding_kept(signalfd(-1, &set, SFD_CLOEXEC));
}

static int hold_inotify(void)
{
	int fd = inotify_init1(IN_CLOEXEC);

	return holding_kept(inotify_add_watch(fd, holding_folder(), IN_CREATE));
}

static int hold_inotify_empty(void)
{
	return holding_kept(inotify_init1(IN_CLOEXEC));
}

static int hold_fanotify(void)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY);

	if (fd < 0)
		return -errno;
	return holding_kept(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, holding_folder()));
}

static int hold_memfd(void)
{
	int fd = memfd_create("model", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, 65536) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_GROW) < 0)
		return -errno;
	if (mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

static int hold_memfd_large(void)
{
	int fd = memfd_create("weights", MFD_CLOEXEC);

	return holding_kept(ftruncate(fd, 128L * MIB));
}

static int hold_shared_anonymous(void)
{
	void *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? -errno : 0;
}

static int hold_hugetlb(void)
{
	void *at = mmap(NULL, 2U * MIB, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	return at == MAP_FAILED ? -errno : 0;
}

static int hold_mapped_file(void)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	void *at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

	return at == MAP_FAILED ? -errno : 0;
}

static int unlinked_file(off_t size, bool map)
{
	char name[PATH_MAX];
	int fd = holding_temporary(name);
	void *at;

	if (fd < 0)
		return -errno;
	(void)unlink(name);
	/* real blocks: CRIU counts those */
	if (posix_fallocate(fd, 0, size) != 0)
		return -ENOSPC;
	if (!map)
		return 0;
	at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	(void)close(fd);
	return at == MAP_FAILED ? -errno : 0;
}

static int hold_unlinked_file(void)
{
	return unlinked_file(2L * MIB, false);
}

static int hold_unlinked_file_mapped(void)
{
	return unlinked_file(2L * MIB, true);
}

static int hold_unlinked_file_large(void)
{
	return unlinked_file(80L * MIB, false);
}

static int hold_unlinked_file_large_mapped(void)
{
	return unlinked_file(80L * MIB, true);
}

static int hold_unlinked_file_sparse(void)
{
	char name[PATH_MAX];
	int fd = holding_temporary(name);

	(void)unlink(name);
	return holding_kept(ftruncate(fd, 256L * MIB));
}

static int hold_file_lock(void)
{
	char name[PATH_MAX];
	int fd = holding_temporary(name);

	(void)unlink(name);
	return holding_kept(flock(fd, LOCK_EX));
}

static int hold_path_descriptor(void)
{
	return holding_open("/etc/passwd", O_PATH);
}

static int hold_directory(void)
{
	return holding_open(holding_folder(), O_RDONLY | O_DIRECTORY);
}

static int hold_namespace_file(void)
{
	return holding_open("/proc/self/ns/net", O_RDONLY);
}

static int hold_proc_file(void)
{
	return holding_open("/proc/self/status", O_RDONLY);
}

static int hold_sys_file(void)
{
	return holding_open("/sys/devices/system/cpu/online", O_RDONLY);
}

static int hold_fifo(void)
{
	char name[PATH_MAX];

	holding_path(name, sizeof(name), "fifo");
	(void)unlink(name);
	if (mkfifo(name, 0600) < 0)
		return -errno;
	return holding_open(name, O_RDWR);
}

static int hold_io_uring(void)
{
	struct io_uring_params params = {0};

	return holding_kept(syscall(SYS_io_uring_setup, 8, &params));
}

static int hold_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	return holding_kept(fd);
}

static int hold_perf_event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
	};

	return holding_kept(syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

static int hold_bpf_map(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 4;
	attr.max_entries = 1;
	return holding_kept(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
}

static int hold_bpf_program(void)
{
	struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = ARRAY_LEN(insns);
	attr.license = (uintptr_t) "GPL";
	return holding_kept(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)));
}

static int hold_landlock(void)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE};

	return holding_kept(syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0));
}

static int hold_fsopen(void)
{
	return holding_kept(fsopen("tmpfs", FSOPEN_CLOEXEC));
}

static int hold_open_tree(void)
{
	return holding_kept(
		open_tree(AT_FDCWD, holding_folder(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

static int hold_pidfd_inside(void)
{
	pid_t pid = holding_fork();

	if (pid == 0)
		holding_wait();
	return holding_kept(syscall(SYS_pidfd_open, pid, 0));
}

static int hold_pidfd_of_ended(void)
{
	pid_t pid = fork();
	int r;

	if (pid == 0)
		holding_wait();
	r = holding_kept(syscall(SYS_pidfd_open, pid, 0));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return r;
}

static int hold_pidfd_outside(void)
{
	return holding_kept(syscall(SYS_pidfd_open, getppid(), 0));
}

static int hold_pidfd_of_thread(void)
{
	return holding_kept(syscall(SYS_pidfd_open, getpid(), PIDFD_THREAD));
}

static int hold_mqueue(void)
{
	char name[64];
	mqd_t queue;

	(void)snprintf(name, sizeof(name), "/snap-held.%d", (int)getpid());
	queue = mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
	(void)mq_unlink(name);
	return holding_kept((int)queue);
}

static int hold_memfd_secret(void)
{
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

	return fd < 0 ? -errno : holding_kept(ftruncate(fd, 4096));
}

static int hold_sysv_shm(void)
{
	int id = shmget(IPC_PRIVATE, 65536, IPC_CREAT | 0600);
	void *at;

	if (id < 0)
		return -errno;
	at = shmat(id, NULL, 0);
	(void)shmctl(id, IPC_RMID, NULL);
	return at == (void *)-1 ? -errno : 0;
}

/* a file of a mount that only a child's namespace had */
static int hold_foreign_mount_file(void)
{
	int ends[2], fd;
	char path[64];
	pid_t pid;
	char byte;

	if (pipe(ends) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		if (unshare(CLONE_NEWNS) < 0 ||
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("held", "/tmp", "tmpfs", 0, NULL) < 0 ||
		    open("/tmp/file", O_CREAT | O_RDWR, 0600) < 0)
			_exit(1);
		(void)!write(ends[1], "r", 1);
		holding_wait();
	}
	(void)close(ends[1]);
	if (read(ends[0], &byte, 1) != 1) {
		(void)close(ends[0]);
		(void)waitpid(pid, NULL, 0);
		return -EPERM;
	}
	(void)close(ends[0]);
	(void)snprintf(path, sizeof(path), "/proc/%d/root/tmp/file", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return holding_kept(fd);
}

static int hold_replaced_file(void)
{
	char name[PATH_MAX];
	int fd;

	/* a file system mounted over the path since it was opened */
	holding_path(name, sizeof(name), "over");
	fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	return holding_kept(mount("/etc/passwd", name, NULL, MS_BIND, NULL));
}

static int hold_inotify_of_deleted(void)
{
	char name[PATH_MAX];
	int file = holding_temporary(name), fd = inotify_init1(IN_CLOEXEC);

	if (inotify_add_watch(fd, name, IN_MODIFY) < 0)
		return -errno;
	(void)unlink(name);
	return file < 0 ? -errno : 0;
}

static int hold_inotify_on_tmpfs(void)
{
	int fd = inotify_init1(IN_CLOEXEC);

	return holding_kept(inotify_add_watch(fd, "/dev/shm", IN_CREATE));
}

static int hold_file_lease(void)
{
	char name[PATH_MAX];
	int fd;

	/* keeps its name: CRIU reads a deleted file and so waits for its own break of the lease */
	holding_path(name, sizeof(name), "lease");
	fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	return holding_kept(fcntl(fd, F_SETLEASE, F_WRLCK));
}

static int hold_dev_zero_mapping(void)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	void *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	return at == MAP_FAILED ? -errno : 0;
}

static int hold_io_uring_mapping(void)
{
	struct io_uring_params params = {0};
	int fd = (int)syscall(SYS_io_uring_setup, 8, &params);
	void *at;

	if (fd < 0)
		return -errno;
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		  IORING_OFF_SQ_RING);
	(void)close(fd);
	return at == MAP_FAILED ? -errno : 0;
}

static int hold_memfd_secret_mapping(void)
{
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	void *at;

	if (fd < 0 || ftruncate(fd, 4096) < 0)
		return -errno;
	at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	return at == MAP_FAILED ? -errno : 0;
}

/* what every engine has, at once; sockets are in holdings_sockets.c */
static int hold_plain_engine(void)
{
	static int (*const parts[])(void) = {
		hold_pipe,  hold_eventfd,     hold_epoll,	  hold_timerfd,
		hold_memfd, hold_mapped_file, hold_inotify_empty, holding_plain_sockets,
	};

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		int r = parts[i]();

		if (r < 0)
			return r;
	}
	return 0;
}

const struct holding file_holdings[] = {
	DUMPED(plain_engine),
	DUMPED(pipe),
	DUMPED(pipe_to_outside),
	DUMPED(eventfd),
	DUMPED(epoll),
	DUMPED(epoll_of_moved_fd),
	DUMPED(timerfd),
	DUMPED(signalfd),
	PRIVILEGED(inotify, "inotify watches"),
	DUMPED(inotify_empty),
	PRIVILEGED(fanotify, "fanotify watches"),
	DUMPED(memfd),
	DUMPED(memfd_large),
	DUMPED(shared_anonymous),
	DUMPED(dev_zero_mapping),
	DUMPED(hugetlb),
	DUMPED(mapped_file),
	DUMPED(unlinked_file),
	DUMPED(unlinked_file_mapped),
	DUMPED(unlinked_file_sparse),
	REFUSED(unlinked_file_large, "the deleted file"),
	REFUSED(unlinked_file_large_mapped, "the deleted file"),
	DUMPED(file_lock),
	DUMPED(path_descriptor),
	DUMPED(directory),
	DUMPED(namespace_file),
	DUMPED(proc_file),
	DUMPED(sys_file),
	DUMPED(fifo),
	REFUSED(io_uring, "io_uring ring"),
	REFUSED(io_uring_mapping, "maps"),
	REFUSED(userfaultfd, "userfaultfd"),
	REFUSED(perf_event, "perf event"),
	REFUSED(bpf_map, "BPF map"),
	REFUSED(bpf_program, "BPF program"),
	REFUSED(landlock, "Landlock ruleset"),
	REFUSED(fsopen, "mount context"),
	REFUSED(open_tree, "mount namespace"),
	DUMPED(pidfd_inside),
	DUMPED(pidfd_of_ended),
	REFUSED(pidfd_outside, "outside the engine's tree"),
	REFUSED(pidfd_of_thread, "pidfd of a thread"),
	REFUSED(mqueue, "message queue"),
	REFUSED(memfd_secret, "secret memory"),
	REFUSED(memfd_secret_mapping, "secret memory"),
	REFUSED(sysv_shm, "System V"),
	REFUSED(foreign_mount_file, "another mount namespace"),
	REFUSED(replaced_file, "another file"),
	PRIVILEGED(inotify_of_deleted, "inotify watches"),
	PRIVILEGED(inotify_on_tmpfs, "inotify watches"),
	DUMPED(file_lease),
};

const size_t n_file_holdings = ARRAY_LEN(file_holdings);
