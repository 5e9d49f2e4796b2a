/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/task/holdings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <linux/vm_sockets.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"

#ifndef SYS_memfd_secret
#	define SYS_memfd_secret 447
#endif
#ifndef IPPROTO_MPTCP
#	define IPPROTO_MPTCP 262
#endif
#ifndef PIDFD_THREAD
#	define PIDFD_THREAD O_EXCL
#endif

#define MIB (1U << 20)

/* the descriptor stays open: holding it is the point */
static int kept(long fd)
{
	return fd < 0 ? -errno : 0;
}

static int open_kept(const char *path, int flags)
{
	return kept(open(path, flags | O_CLOEXEC | O_NOCTTY));
}

/* a process below us that waits for ever; 0 in it */
static pid_t fork_waiting(void)
{
	pid_t pid = fork();

	if (pid == 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void wait_for_ever(void)
{
	for (;;)
		(void)pause();
}

/* ---- what every engine has ---- */

static int hold_nothing(void)
{
	return 0;
}

static int hold_pipe(void)
{
	int ends[2];

	return kept(pipe(ends));
}

static int hold_pipe_to_outside(void)
{
	int ends[2];

	/* the reading end was made by our parent: stdout in the agreement test; here, drop one */
	if (pipe(ends) < 0)
		return -errno;
	return kept(close(ends[0]));
}

static int hold_socketpair(void)
{
	int ends[2];

	return kept(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
}

static int hold_socketpair_across_fork(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0)
		return -errno;
	if (fork_waiting() == 0) {
		(void)close(ends[0]);
		wait_for_ever();
	}
	return kept(close(ends[1]));
}

static int hold_socketpair_half(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return -errno;
	return kept(close(ends[1]));
}

static int hold_eventfd(void)
{
	return kept(eventfd(3, EFD_CLOEXEC));
}

static int hold_epoll(void)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), fd = eventfd(0, EFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};

	return kept(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event));
}

static int hold_epoll_of_moved_fd(void)
{
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), fd = eventfd(0, EFD_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 || dup(fd) < 0)
		return -errno;
	return kept(close(fd));
}

static int hold_timerfd(void)
{
	return kept(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
}

static int hold_signalfd(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR1);
	return kept(signalfd(-1, &set, SFD_CLOEXEC));
}

static int hold_inotify(void)
{
	int fd = inotify_init1(IN_CLOEXEC);

	return kept(inotify_add_watch(fd, "/tmp", IN_CREATE));
}

static int hold_fanotify(void)
{
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY);

	if (fd < 0)
		return -errno;
	return kept(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN, AT_FDCWD, "/tmp"));
}

static int hold_posix_timer(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_NONE};
	timer_t timer;

	return kept(timer_create(CLOCK_MONOTONIC, &event, &timer));
}

static int hold_aio(void)
{
	aio_context_t context = 0;

	return kept(syscall(SYS_io_setup, 8, &context));
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

	return kept(ftruncate(fd, 128L * MIB));
}

static int hold_shared_anonymous(void)
{
	void *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return at == MAP_FAILED ? -errno : 0;
}

static int hold_dev_zero_mapping(void)
{
	int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	void *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

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
	char name[] = "/tmp/snap-heldXXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);
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
	char name[] = "/tmp/snap-heldXXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	(void)unlink(name);
	return kept(ftruncate(fd, 256L * MIB));
}

static int hold_file_lock(void)
{
	char name[] = "/tmp/snap-heldXXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	(void)unlink(name);
	return kept(flock(fd, LOCK_EX));
}

static int hold_path_descriptor(void)
{
	return open_kept("/etc/passwd", O_PATH);
}

static int hold_directory(void)
{
	return open_kept("/tmp", O_RDONLY | O_DIRECTORY);
}

static int hold_namespace_file(void)
{
	return open_kept("/proc/self/ns/net", O_RDONLY);
}

static int hold_proc_file(void)
{
	return open_kept("/proc/self/status", O_RDONLY);
}

static int hold_sys_file(void)
{
	return open_kept("/sys/devices/system/cpu/online", O_RDONLY);
}

static int hold_fifo(void)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "/tmp/snap-fifo.%d", (int)getpid());
	(void)unlink(name);
	if (mkfifo(name, 0600) < 0)
		return -errno;
	return open_kept(name, O_RDWR);
}

static int hold_stopped_child(void)
{
	if (fork_waiting() == 0) {
		(void)raise(SIGSTOP);
		wait_for_ever();
	}
	return 0;
}

static int hold_zombie(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return kept(waitid(P_PID, (id_t)pid, NULL, WEXITED | WNOWAIT));
}

static int hold_shared_fd_table(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	int fd = eventfd(0, EFD_CLOEXEC);

	(void)fd;
	return kept(clone((int (*)(void *))(void (*)(void))wait_for_ever, stack + sizeof(stack),
			  CLONE_FILES | SIGCHLD, NULL));
}

static int hold_shared_memory_process(void)
{
	static char stack[65536] __attribute__((aligned(16)));

	return kept(clone((int (*)(void *))(void (*)(void))wait_for_ever, stack + sizeof(stack),
			  CLONE_VM | SIGCHLD, NULL));
}

static void *wait_in_thread(void *arg)
{
	wait_for_ever();
	return arg;
}

static int hold_thread(void)
{
	pthread_t thread;

	return -pthread_create(&thread, NULL, wait_in_thread, NULL);
}

static int hold_chroot(void)
{
	return fork_waiting() == 0 ? (kept(chroot("/tmp")), wait_for_ever(), 0) : 0;
}

static int hold_deleted_directory(void)
{
	char name[] = "/tmp/snap-dirXXXXXX";

	if (!mkdtemp(name) || chdir(name) < 0)
		return -errno;
	return kept(rmdir(name));
}

/* ---- anonymous inodes ---- */

static int hold_io_uring(void)
{
	struct io_uring_params params = {0};

	return kept(syscall(SYS_io_uring_setup, 8, &params));
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

static int hold_userfaultfd(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	return kept(fd);
}

static int hold_perf_event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
	};

	return kept(syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC));
}

static int hold_bpf_map(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_ARRAY;
	attr.key_size = 4;
	attr.value_size = 4;
	attr.max_entries = 1;
	return kept(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)));
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
	return kept(syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)));
}

static int install_filter(unsigned int flags)
{
	struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
	struct sock_fprog program = {1, &allow};

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return kept(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program));
}

static int hold_seccomp_notify(void)
{
	return install_filter(SECCOMP_FILTER_FLAG_NEW_LISTENER);
}

static int hold_seccomp_filter(void)
{
	return install_filter(0);
}

static int hold_landlock(void)
{
	struct landlock_ruleset_attr attr = {.handled_access_fs = LANDLOCK_ACCESS_FS_EXECUTE};

	return kept(syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0));
}

static int hold_fsopen(void)
{
	return kept(fsopen("tmpfs", FSOPEN_CLOEXEC));
}

static int hold_open_tree(void)
{
	return kept(open_tree(AT_FDCWD, "/tmp", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
}

static int hold_pidfd_inside(void)
{
	pid_t pid = fork_waiting();

	if (pid == 0)
		wait_for_ever();
	return kept(syscall(SYS_pidfd_open, pid, 0));
}

static int hold_pidfd_of_ended(void)
{
	pid_t pid = fork();
	int r;

	if (pid == 0)
		wait_for_ever();
	r = kept(syscall(SYS_pidfd_open, pid, 0));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	return r;
}

static int hold_pidfd_outside(void)
{
	return kept(syscall(SYS_pidfd_open, getppid(), 0));
}

static int hold_pidfd_of_thread(void)
{
	return kept(syscall(SYS_pidfd_open, getpid(), PIDFD_THREAD));
}

static int hold_mqueue(void)
{
	char name[64];
	mqd_t queue;

	(void)snprintf(name, sizeof(name), "/snap-held.%d", (int)getpid());
	queue = mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
	(void)mq_unlink(name);
	return kept((int)queue);
}

static int hold_memfd_secret(void)
{
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

	return fd < 0 ? -errno : kept(ftruncate(fd, 4096));
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

/* ---- devices ---- */

static int hold_harmless_devices(void)
{
	static const char *const paths[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random",
					    "/dev/urandom"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		int r = open_kept(paths[i], O_RDONLY);

		if (r < 0)
			return r;
	}
	return 0;
}

static int hold_kmsg(void)
{
	return open_kept("/dev/kmsg", O_RDONLY | O_NONBLOCK);
}

static int hold_fuse(void)
{
	return open_kept("/dev/fuse", O_RDWR);
}

static int hold_dev_userfaultfd(void)
{
	return open_kept("/dev/userfaultfd", O_RDWR);
}

static int hold_tun(void)
{
	return open_kept("/dev/net/tun", O_RDWR);
}

static int hold_loop_control(void)
{
	return open_kept("/dev/loop-control", O_RDWR);
}

static int hold_block_device(void)
{
	return open_kept("/dev/loop0", O_RDONLY | O_NONBLOCK);
}

static int hold_autofs(void)
{
	return open_kept("/dev/autofs", O_RDONLY);
}

static int hold_cpu_latency(void)
{
	return open_kept("/dev/cpu_dma_latency", O_RDWR);
}

static int hold_device_path(void)
{
	return open_kept("/dev/fuse", O_PATH);
}

static int hold_device_mapping(void)
{
	/* stands for the GPU's: a mapped device that is not /dev/zero */
	static const char *const paths[] = {"/dev/mem", "/dev/zram0", "/dev/vda", "/dev/sda"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		void *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		(void)fd_close(fd);
		if (at != MAP_FAILED)
			return 0;
	}
	return -ENODEV;
}

static int hold_console_tty(void)
{
	return open_kept("/dev/tty1", O_RDWR | O_NONBLOCK);
}

static int hold_serial_tty(void)
{
	return open_kept("/dev/ttyS0", O_RDWR | O_NONBLOCK);
}

static int hold_pty_pair(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char name[64];

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
	    ptsname_r(master, name, sizeof(name)) != 0)
		return -errno;
	return open_kept(name, O_RDWR);
}

static int hold_pty_master(void)
{
	return kept(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
}

/* a process that left us holds the master, we the slave */
static int pty_with_outside_master(bool control)
{
	int go[2], slave;
	char name[64];
	pid_t pid;
	ssize_t n;

	if (pipe(go) < 0)
		return -errno;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

		if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
		    ptsname_r(master, name, sizeof(name)) != 0)
			_exit(1);
		(void)setsid();
		(void)!write(go[1], name, sizeof(name));
		(void)close(go[0]);
		(void)close(go[1]);
		(void)sleep(30);
		_exit(0);
	}
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	(void)close(go[1]);
	n = read(go[0], name, sizeof(name));
	(void)close(go[0]);
	if (n <= 0)
		return -ENODEV;
	slave = open(name, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (slave < 0)
		return -errno;
	return control ? kept(ioctl(slave, TIOCSCTTY, 0)) : 0;
}

static int hold_pty_slave(void)
{
	return pty_with_outside_master(false);
}

static int hold_controlling_tty(void)
{
	int r = pty_with_outside_master(true);

	/* only the control is left */
	(void)close_range(3, ~0U, 0);
	return r;
}

/* ---- sockets ---- */

static struct sockaddr_in loopback(void)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

/* a listening TCP socket on any port; *ret_address is where */
static int tcp_listener(int protocol, struct sockaddr_in *ret_address)
{
	socklen_t size = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, protocol);

	*ret_address = loopback();
	if (fd < 0 || bind(fd, (struct sockaddr *)ret_address, size) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)ret_address, &size) < 0)
		return -errno;
	return fd;
}

static int tcp_client(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	return fd;
}

static int hold_tcp_listener(void)
{
	struct sockaddr_in address;
	int fd = tcp_listener(0, &address);

	return fd < 0 ? fd : 0;
}

static int hold_tcp_listener_v6(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return kept(listen(fd, 8));
}

static int hold_tcp_unconnected(void)
{
	return kept(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int hold_tcp_inside(void)
{
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	if (client < 0)
		return client;
	return kept(accept(listener, NULL, NULL));
}

static int hold_tcp_v6_inside(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
	    listen(listener, 8) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
	    connect(client, (struct sockaddr *)&address, size) < 0)
		return -errno;
	return kept(accept(listener, NULL, NULL));
}

static int hold_tcp_half_closed(void)
{
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	if (client < 0 || accept(listener, NULL, NULL) < 0)
		return -errno;
	return kept(close(client)); /* leaves CLOSE_WAIT */
}

static int hold_tcp_unaccepted(void)
{
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	return client < 0 ? client : kept(close(client));
}

static int hold_mptcp_listener(void)
{
	struct sockaddr_in address;
	int fd = tcp_listener(IPPROTO_MPTCP, &address);

	return fd < 0 ? fd : 0;
}

static int hold_sctp(void)
{
	return kept(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP));
}

static int hold_udp(void)
{
	struct sockaddr_in address = loopback();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return kept(bind(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int hold_udp_connected(void)
{
	struct sockaddr_in address = loopback();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	address.sin_port = htons(9);
	return kept(connect(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int hold_ping(void)
{
	return kept(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP));
}

static int hold_raw(void)
{
	return kept(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
}

static int hold_packet(void)
{
	return kept(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x0800)));
}

static int hold_packet_ring(void)
{
	struct tpacket_req request = {
		.tp_block_size = 4096, .tp_block_nr = 2, .tp_frame_size = 2048, .tp_frame_nr = 4};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x0800));
	void *at;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) < 0)
		return -errno;
	at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return at == MAP_FAILED ? -errno : 0;
}

static int hold_vsock(void)
{
	return kept(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int hold_alg(void)
{
	return kept(socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
}

static int hold_xdp(void)
{
	return kept(socket(44 /* AF_XDP */, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int netlink_socket(unsigned int groups)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return fd;
}

static int hold_netlink(void)
{
	int fd = netlink_socket(RTMGRP_LINK);

	return fd < 0 ? fd : 0;
}

static int hold_netlink_unread(void)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg body;
	} request = {
		.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
			   .nlmsg_type = RTM_GETLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.rtgen_family = AF_UNSPEC},
	};

	int fd = netlink_socket(0);

	return fd < 0 ? fd : kept(send(fd, &request, request.header.nlmsg_len, 0));
}

static int hold_netlink_high_group(void)
{
	int fd = netlink_socket(0), group = RTNLGRP_BRVLAN;

	if (fd < 0)
		return fd;
	return kept(setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
}

static struct sockaddr_un unix_address(const char *word)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/snap-%s.%d", word,
		       (int)getpid());
	(void)unlink(address.sun_path);
	return address;
}

static int unix_listener(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	if (type != SOCK_DGRAM && listen(fd, 8) < 0)
		return -errno;
	return fd;
}

static int unix_client(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	return fd;
}

static int hold_unix_listener(void)
{
	struct sockaddr_un address = unix_address("listener");
	int fd = unix_listener(&address, SOCK_STREAM);

	return fd < 0 ? fd : 0;
}

static int hold_unix_path_descriptor(void)
{
	struct sockaddr_un address = unix_address("path");
	int fd = unix_listener(&address, SOCK_STREAM);

	return fd < 0 ? fd : open_kept(address.sun_path, O_PATH);
}

static int hold_unix_inside(void)
{
	struct sockaddr_un address = unix_address("inside");
	int listener = unix_listener(&address, SOCK_STREAM), client;

	if (listener < 0)
		return listener;
	client = unix_client(&address, SOCK_STREAM);
	if (client < 0)
		return client;
	return kept(accept(listener, NULL, NULL));
}

static int hold_unix_unaccepted(void)
{
	struct sockaddr_un address = unix_address("unaccepted");
	int listener = unix_listener(&address, SOCK_STREAM), client;

	if (listener < 0)
		return listener;
	client = unix_client(&address, SOCK_STREAM);
	return client < 0 ? client : 0;
}

/* our parent's side: a process that left us listens, accepts and waits */
static int unix_with_outside(int type, bool accepts)
{
	struct sockaddr_un address = unix_address("outside");
	int go[2], client;
	char byte;
	pid_t pid;

	if (pipe(go) < 0)
		return -errno;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		int fd;

		(void)setsid();
		fd = unix_listener(&address, type);
		(void)!write(go[1], "r", 1);
		(void)close(go[1]);
		(void)close(go[0]);
		if (fd >= 0 && accepts)
			(void)accept(fd, NULL, NULL);
		(void)sleep(30);
		_exit(0);
	}
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	(void)close(go[1]);
	if (read(go[0], &byte, 1) != 1)
		return -EIO;
	(void)close(go[0]);
	client = unix_client(&address, type);
	(void)usleep(50000); /* the other side accepts */
	return client < 0 ? client : 0;
}

static int hold_unix_outside(void)
{
	return unix_with_outside(SOCK_STREAM, true);
}

static int hold_unix_outside_unaccepted(void)
{
	return unix_with_outside(SOCK_STREAM, false);
}

static int hold_unix_datagram_outside(void)
{
	return unix_with_outside(SOCK_DGRAM, false);
}

/* the other end lives in a process that left us */
static int socketpair_with_outside(int type)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		(void)setsid();
		(void)close(ends[0]);
		(void)sleep(30);
		_exit(0);
	}
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	return kept(close(ends[1]));
}

static int hold_socketpair_outside(void)
{
	return socketpair_with_outside(SOCK_STREAM);
}

static int hold_socketpair_datagram_outside(void)
{
	return socketpair_with_outside(SOCK_DGRAM);
}

/* ---- tasks ---- */

static int hold_traced_child(void)
{
	pid_t pid = fork_waiting();

	if (pid == 0)
		wait_for_ever();
	return kept(ptrace(PTRACE_SEIZE, pid, NULL, NULL));
}

static int hold_other_uid(void)
{
	if (geteuid() != 0)
		return -EPERM;
	if (fork_waiting() == 0) {
		(void)!setresuid(1000, 1000, 1000);
		wait_for_ever();
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
	return kept(waitpid(pid, NULL, 0));
}

static int namespace_child(int flag)
{
	int go[2];
	int r = 0;

	if (pipe(go) < 0)
		return -errno;
	if (fork_waiting() == 0) {
		r = kept(unshare(flag));
		(void)!write(go[1], &r, sizeof(r));
		(void)close_range(3, ~0U, 0);
		wait_for_ever();
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

static int hold_pid_namespace(void)
{
	/* a child that is PID 1 of its own */
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, 0L);

	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		wait_for_ever();
	}
	return kept(pid);
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
		wait_for_ever();
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
	return kept(fd);
}

static int hold_dead_leader(void)
{
	pthread_t thread;

	if (fork_waiting() == 0) {
		(void)pthread_create(&thread, NULL, wait_in_thread, NULL);
		(void)syscall(SYS_exit, 0); /* the leader only */
	}
	(void)usleep(20000);
	return 0;
}

static int hold_vfork(void)
{
	if (fork_waiting() == 0) {
		if (vfork() == 0)
			wait_for_ever();
		_exit(0);
	}
	(void)usleep(20000);
	return 0;
}

static int hold_replaced_file(void)
{
	char name[64];
	int fd;

	/* a file system mounted over the path since it was opened */
	(void)snprintf(name, sizeof(name), "/tmp/snap-over.%d", (int)getpid());
	fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	return kept(mount("/etc/passwd", name, NULL, MS_BIND, NULL));
}

static int hold_tcp_bound(void)
{
	struct sockaddr_in address = loopback();
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return kept(bind(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int hold_tcp_syn_sent(void)
{
	struct sockaddr_in address = loopback();
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* nobody answers once the queue is full */
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
	    listen(listener, 0) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	for (int i = 0; i < 3; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		(void)connect(fd, (struct sockaddr *)&address, size);
		(void)usleep(10000);
	}
	return 0;
}

static int hold_unix_abstract(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "snap-held.%d",
		       (int)getpid());
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return kept(listen(fd, 8));
}

static int hold_unix_deleted_listener(void)
{
	struct sockaddr_un address = unix_address("deleted");
	int fd = unix_listener(&address, SOCK_STREAM);

	return fd < 0 ? fd : kept(unlink(address.sun_path));
}

static int hold_unix_bound(void)
{
	struct sockaddr_un address = unix_address("bound");
	int fd = unix_listener(&address, SOCK_DGRAM);

	return fd < 0 ? fd : 0;
}

/* a process that left us is a client of our listener, not accepted or accepted */
static int unix_client_outside(bool accepts)
{
	struct sockaddr_un address = unix_address("served");
	int listener = unix_listener(&address, SOCK_STREAM);
	pid_t pid;

	if (listener < 0)
		return listener;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		(void)setsid();
		(void)close(listener);
		(void)unix_client(&address, SOCK_STREAM);
		(void)sleep(30);
		_exit(0);
	}
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	(void)usleep(50000);
	return accepts ? kept(accept(listener, NULL, NULL)) : 0;
}

static int hold_unix_outside_client(void)
{
	return unix_client_outside(true);
}

static int hold_unix_outside_client_unaccepted(void)
{
	return unix_client_outside(false);
}

/* a descriptor that is only in the queue of a socket pair */
static int send_descriptor(int fd)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec byte = {.iov_base = control, .iov_len = 1};
	struct msghdr message = {
		.msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int ends[2];

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	if (fd < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) < 0 ||
	    sendmsg(ends[0], &message, 0) < 0)
		return -errno;
	return kept(close(fd));
}

static int hold_file_in_flight(void)
{
	return send_descriptor(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int hold_socket_in_flight(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return -errno;
	return send_descriptor(ends[1]);
}

static int hold_inotify_of_deleted(void)
{
	char name[] = "/tmp/snap-heldXXXXXX";
	int file = mkostemp(name, O_CLOEXEC), fd = inotify_init1(IN_CLOEXEC);

	if (inotify_add_watch(fd, name, IN_MODIFY) < 0)
		return -errno;
	(void)unlink(name);
	return file < 0 ? -errno : 0;
}

static int hold_inotify_on_tmpfs(void)
{
	int fd = inotify_init1(IN_CLOEXEC);

	return kept(inotify_add_watch(fd, "/dev/shm", IN_CREATE));
}

static int hold_file_lease(void)
{
	char name[] = "/tmp/snap-heldXXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	(void)unlink(name);
	return kept(fcntl(fd, F_SETLEASE, F_WRLCK));
}

static int hold_dev_tty(void)
{
	int r = hold_pty_pair(), slave = r == 0 ? dup(4) : -1;

	if (r < 0)
		return r;
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return -errno;
	return open_kept("/dev/tty", O_RDWR);
}

static void *unshare_in_thread(void *arg)
{
	long *flags = arg;

	*flags = unshare((int)*flags);
	(void)open("/dev/null", O_RDONLY | O_CLOEXEC);
	wait_for_ever();
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
	wait_for_ever();
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
	pid_t leader = fork_waiting();

	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (leader == 0) {
		(void)(session ? setsid() : (pid_t)setpgid(0, 0));
		if (fork_waiting() == 0) {
			(void)prctl(PR_SET_PDEATHSIG, 0);
			wait_for_ever();
		}
		(void)usleep(20000);
		_exit(0);
	}
	return kept(waitpid(leader, NULL, 0));
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
	return kept(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static int hold_undumpable(void)
{
	return kept(prctl(PR_SET_DUMPABLE, 0));
}

static int hold_ghost_executable(void)
{
	static const char *const words[] = {"sleep", "30", NULL};
	char name[64], command[160];
	pid_t pid;

	(void)snprintf(name, sizeof(name), "/tmp/snap-sleep.%d", (int)getpid());
	(void)snprintf(command, sizeof(command), "cp /bin/sleep %s", name);
	if (system(command) != 0)
		return -ENOENT;
	pid = fork_waiting();
	if (pid == 0) {
		(void)execv(name, (char *const *)(uintptr_t)words);
		_exit(1);
	}
	(void)usleep(50000);
	return kept(unlink(name));
}

#define DUMPED(word)                               \
	{                                          \
		.name = #word, .hold = hold_##word \
	}
#define REFUSED(word, text)                                                                      \
	{                                                                                        \
		.name = #word, .hold = hold_##word, .criu = CRIU_REFUSES,                        \
		.criu_unprivileged = CRIU_REFUSES, .finding = text, .finding_unprivileged = text \
	}
/* dumped in setting A only */
#define PRIVILEGED(word, text)                                                         \
	{                                                                              \
		.name = #word, .hold = hold_##word, .criu_unprivileged = CRIU_REFUSES, \
		.finding_unprivileged = text                                           \
	}
#define PASSING(word, answer, answer_unprivileged, text)                   \
	{                                                                  \
		.name = #word, .hold = hold_##word, .criu = answer,        \
		.criu_unprivileged = answer_unprivileged, .finding = text, \
		.finding_unprivileged = text, .transient = true            \
	}
#define BEYOND(word, text, why)                                                                    \
	{                                                                                          \
		.name = #word, .hold = hold_##word, .finding = text, .finding_unprivileged = text, \
		.beyond = why                                                                      \
	}

const struct holding holdings[] = {
	DUMPED(nothing),
	DUMPED(pipe),
	DUMPED(pipe_to_outside),
	DUMPED(socketpair),
	DUMPED(socketpair_across_fork),
	DUMPED(socketpair_half),
	DUMPED(eventfd),
	DUMPED(epoll),
	DUMPED(epoll_of_moved_fd),
	DUMPED(timerfd),
	DUMPED(signalfd),
	PRIVILEGED(inotify, "inotify watches"),
	PRIVILEGED(fanotify, "fanotify watches"),
	DUMPED(posix_timer),
	DUMPED(aio),
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
	DUMPED(stopped_child),
	DUMPED(zombie),
	DUMPED(shared_fd_table),
	PASSING(shared_memory_process, CRIU_REFUSES, CRIU_REFUSES, "shares its memory"),
	DUMPED(thread),
	DUMPED(chroot),
	DUMPED(deleted_directory),
	REFUSED(io_uring, "io_uring ring"),
	REFUSED(io_uring_mapping, "maps"),
	REFUSED(userfaultfd, "userfaultfd"),
	REFUSED(perf_event, "perf event"),
	REFUSED(bpf_map, "BPF map"),
	REFUSED(bpf_program, "BPF program"),
	REFUSED(seccomp_notify, "seccomp listener"),
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
	DUMPED(harmless_devices),
	DUMPED(kmsg),
	REFUSED(fuse, "/dev/fuse"),
	REFUSED(dev_userfaultfd, "/dev/userfaultfd"),
	REFUSED(tun, "/dev/net/tun"),
	REFUSED(loop_control, "/dev/loop-control"),
	REFUSED(block_device, "block device"),
	DUMPED(autofs),
	REFUSED(cpu_latency, "/dev/cpu_dma_latency"),
	REFUSED(device_path, "/dev/fuse"),
	REFUSED(device_mapping, "maps the device"),
	DUMPED(console_tty),
	REFUSED(serial_tty, "/dev/ttyS0"),
	DUMPED(pty_pair),
	DUMPED(pty_master),
	REFUSED(pty_slave, "terminal"),
	DUMPED(controlling_tty),
	DUMPED(tcp_listener),
	DUMPED(tcp_listener_v6),
	DUMPED(tcp_unconnected),
	PASSING(tcp_inside, CRIU_DUMPS, CRIU_REFUSES, "is open"),
	PASSING(tcp_v6_inside, CRIU_DUMPS, CRIU_REFUSES, "is open"),
	PASSING(tcp_half_closed, CRIU_DUMPS, CRIU_REFUSES, "is closing"),
	PASSING(tcp_unaccepted, CRIU_DUMPS, CRIU_DUMPS, "not yet accepted"),
	REFUSED(mptcp_listener, "multipathtcp=0"),
	REFUSED(sctp, "SCTP"),
	DUMPED(udp),
	DUMPED(udp_connected),
	DUMPED(ping),
	DUMPED(raw),
	DUMPED(packet),
	DUMPED(packet_ring),
	REFUSED(vsock, "VSOCK"),
	REFUSED(alg, "ALG"),
	REFUSED(xdp, "XDP"),
	DUMPED(netlink),
	PASSING(netlink_unread, CRIU_REFUSES, CRIU_REFUSES, "unread"),
	REFUSED(netlink_high_group, "group"),
	DUMPED(unix_listener),
	REFUSED(unix_path_descriptor, "O_PATH"),
	DUMPED(unix_inside),
	DUMPED(unix_unaccepted),
	REFUSED(unix_outside, "outside"),
	BEYOND(unix_outside_unaccepted, "outside the engine's tree", "CRIU cannot restore it"),
	DUMPED(unix_datagram_outside),
	REFUSED(socketpair_outside, "outside"),
	REFUSED(socketpair_datagram_outside, "outside"),
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
	REFUSED(foreign_mount_file, "another mount namespace"),
	REFUSED(replaced_file, "another file"),
	REFUSED(dead_leader, "main thread"),
	PASSING(vfork, CRIU_REFUSES, CRIU_REFUSES, "shares its memory"),
	PRIVILEGED(seccomp_filter, "seccomp filter"),
	REFUSED(other_uid, "uid"),
	DUMPED(tcp_bound),
	PASSING(tcp_syn_sent, CRIU_DUMPS, CRIU_REFUSES, "is opening"),
	DUMPED(unix_abstract),
	DUMPED(unix_deleted_listener),
	DUMPED(unix_bound),
	REFUSED(unix_outside_client, "outside"),
	DUMPED(unix_outside_client_unaccepted),
	DUMPED(file_in_flight),
	PASSING(socket_in_flight, CRIU_DUMPS, CRIU_DUMPS, "in flight"),
	PRIVILEGED(inotify_of_deleted, "inotify watches"),
	PRIVILEGED(inotify_on_tmpfs, "inotify watches"),
	DUMPED(file_lease),
	DUMPED(dev_tty),
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

const size_t n_holdings = ARRAY_LEN(holdings);

const struct holding *holding_find(const char *name)
{
	for (size_t i = 0; i < n_holdings; i++) {
		if (strcmp(holdings[i].name, name) == 0)
			return &holdings[i];
	}
	return NULL;
}

int holding_start(const struct holding *holding)
{
	int report[2], r = -EIO;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		int keep = fcntl(report[1], F_DUPFD_CLOEXEC, 100);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setsid();
		for (int fd = 0; fd < 3; fd++)
			(void)dup2(null, fd);
		(void)fd_close_from_except(3, &keep, 1);
		r = holding->hold();
		(void)!write(keep, &r, sizeof(r));
		(void)close(keep);
		wait_for_ever();
	}
	(void)close(report[1]);
	if (read(report[0], &r, sizeof(r)) != sizeof(r))
		r = -EIO;
	(void)close(report[0]);
	if (r < 0) {
		holding_end(pid);
		return r;
	}
	return pid;
}

void holding_end(int pid)
{
	(void)kill(-pid, SIGKILL);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}
