/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/remote_ring.h"

#include <errno.h>

#include "common/fd.h"

#ifdef __x86_64__

#	include <fcntl.h>
#	include <linux/io_uring.h>
#	include <poll.h>
#	include <string.h>
#	include <sys/mman.h>
#	include <sys/pidfd.h>
#	include <sys/syscall.h>
#	include <sys/uio.h>
#	include <time.h>
#	include <unistd.h>

#	include "common/clock.h"
#	include "snapshot/task/threads.h"

#	define OWN_SCRATCH	4096U /* in front of the caller's */
#	define SETTLE_STEP_NS	500000L
#	define BLIND_SETTLE_MS 50U

/* what lies at the start of the scratch memory */
struct own_scratch {
	struct io_uring_params params;
	struct io_uring_getevents_arg wait;
	struct __kernel_timespec timeout;
};

_Static_assert(sizeof(struct own_scratch) <= OWN_SCRATCH, "room");

static int count_thread(pid_t tid, void *arg)
{
	size_t *n = arg;

	(void)tid;
	(*n)++;
	return 0;
}

static int count_threads(pid_t pid, size_t *ret)
{
	*ret = 0;
	return threads_each(pid, count_thread, ret);
}

static int copy_out(const struct remote_ring *ring, uint64_t address, const void *data, size_t size)
{
	struct iovec local = {(void *)(uintptr_t)data, size};
	struct iovec remote = {(void *)(uintptr_t)address, size};
	ssize_t n = process_vm_writev(ring->injector->tid, &local, 1, &remote, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EFAULT;
}

static int copy_in(const struct remote_ring *ring, uint64_t address, void *data, size_t size)
{
	struct iovec local = {data, size}, remote = {(void *)(uintptr_t)address, size};
	ssize_t n = process_vm_readv(ring->injector->tid, &local, 1, &remote, 1, 0);

	if (n < 0)
		return -errno;
	return (size_t)n == size ? 0 : -EFAULT;
}

/* a call in the task whose failure is ours */
static int call(const struct remote_ring *ring, long number, const uint64_t args[6],
		int64_t *ret_value, const char *what, struct snap_error *err)
{
	int r = injector_call(ring->injector, number, args, ret_value, err);

	if (r == 0 && *ret_value < 0)
		return snap_fail(err, SNAP_E_RESTORE, (int)-*ret_value, "pid %d: %s",
				 (int)ring->injector->tid, what);
	return r;
}

static int make_scratch(struct remote_ring *ring, size_t bytes, struct snap_error *err)
{
	const uint64_t args[6] = {0, OWN_SCRATCH + bytes, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, UINT64_MAX};
	int64_t at;
	int r = call(ring, SYS_mmap, args, &at, "mmap", err);

	if (r < 0)
		return r;
	ring->scratch = (uint64_t)at;
	ring->scratch_bytes = OWN_SCRATCH + bytes;
	return 0;
}

static int set_up(struct remote_ring *ring, unsigned int entries, struct io_uring_params *ret,
		  struct snap_error *err)
{
	const uint64_t at = ring->scratch + offsetof(struct own_scratch, params);
	const uint64_t args[6] = {entries, at};
	int64_t fd;
	int r;

	*ret = (struct io_uring_params){0};
	r = copy_out(ring, at, ret, sizeof(*ret));
	if (r < 0)
		return snap_fail(err, SNAP_E_RESTORE, -r, "cannot write memory of pid %d",
				 (int)ring->injector->tid);
	r = call(ring, SYS_io_uring_setup, args, &fd, "io_uring_setup", err);
	if (r < 0)
		return r;
	ring->remote_fd = (int)fd;
	r = copy_in(ring, at, ret, sizeof(*ret));
	if (r < 0)
		return snap_fail(err, SNAP_E_RESTORE, -r, "cannot read memory of pid %d",
				 (int)ring->injector->tid);
	if (!(ret->features & IORING_FEAT_SINGLE_MMAP) || !(ret->features & IORING_FEAT_EXT_ARG))
		return snap_fail_plain(err, SNAP_E_RESTORE, ENOSYS,
				       "this kernel's io_uring is too old");
	return 0;
}

static int take_over(struct remote_ring *ring, struct snap_error *err)
{
	snap_cleanup_close int pidfd = pidfd_open(ring->injector->tid, 0);
	int fd = pidfd < 0 ? -1 : pidfd_getfd(pidfd, ring->remote_fd, 0);

	if (fd < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno, "cannot take a descriptor of pid %d",
				 (int)ring->injector->tid);
	ring->fd = fd;
	return 0;
}

static int map_queues(struct remote_ring *ring, const struct io_uring_params *params,
		      struct snap_error *err)
{
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
	size_t sq_bytes = params->sq_off.array + params->sq_entries * sizeof(uint32_t);
	size_t cq_bytes = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);
	size_t sqes_bytes = params->sq_entries * sizeof(struct io_uring_sqe);
	uint32_t *array;
	char *rings;
	void *sqes;

	ring->rings_bytes = sq_bytes > cq_bytes ? sq_bytes : cq_bytes;
	rings = mmap(NULL, ring->rings_bytes, prot, flags, ring->fd, IORING_OFF_SQ_RING);
	if (rings == MAP_FAILED)
		return snap_fail(err, SNAP_E_RESTORE, errno,
				 "cannot map a ring of another process");
	ring->rings = rings;
	sqes = mmap(NULL, sqes_bytes, prot, flags, ring->fd, (off_t)IORING_OFF_SQES);
	if (sqes == MAP_FAILED)
		return snap_fail(err, SNAP_E_RESTORE, errno,
				 "cannot map a ring of another process");
	ring->sqes = sqes;
	ring->sqes_bytes = sqes_bytes;
	ring->sq_tail = (uint32_t *)(void *)(rings + params->sq_off.tail);
	ring->cq_head = (uint32_t *)(void *)(rings + params->cq_off.head);
	ring->cq_tail = (uint32_t *)(void *)(rings + params->cq_off.tail);
	ring->cqes = rings + params->cq_off.cqes;
	ring->sq_mask = params->sq_entries - 1;
	ring->cq_mask = params->cq_entries - 1;
	array = (uint32_t *)(void *)(rings + params->sq_off.array);
	for (uint32_t i = 0; i < params->sq_entries; i++)
		array[i] = i;
	return 0;
}

/*
 * The files, and one that nobody uses: the end of a pipe, which the kernel closes when it frees
 * the ring. That is how we learn of it.
 */
static int register_files(struct remote_ring *ring, const int *fds, unsigned int n,
			  struct snap_error *err)
{
	int files[REMOTE_RING_FILES_MAX + 1], ends[2];
	long r;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return snap_fail(err, SNAP_E_RESTORE, errno, "cannot make a pipe");
	memcpy(files, fds, n * sizeof(*fds));
	files[n] = ends[1];
	r = syscall(SYS_io_uring_register, ring->fd, IORING_REGISTER_FILES, files, n + 1);
	if (r < 0)
		r = snap_fail(err, SNAP_E_RESTORE, errno, "cannot register files with a ring");
	else
		ring->gone_fd = TAKE_FD(ends[0]);
	(void)fd_close(ends[0]);
	(void)fd_close(ends[1]);
	return (int)r;
}

/* a ring without the pipe: it takes a grace period of RCU until the kernel's work in the task */
static void give_up(struct remote_ring *ring)
{
	static const uint64_t no_args[6];
	const struct timespec nap = {.tv_nsec = SETTLE_STEP_NS};
	uint64_t deadline_ns = deadline_after_ms(ring->remote_fd >= 0 ? BLIND_SETTLE_MS : 0);
	int64_t value;

	(void)remote_ring_close(ring, NULL);
	while (clock_now_ns() < deadline_ns &&
	       injector_call(ring->injector, SYS_getpid, no_args, &value, NULL) == 0)
		(void)nanosleep(&nap, NULL);
	ring->gone_fd = fd_close(ring->gone_fd);
	ring->injector = NULL;
}

int remote_ring_make(struct injector *injector, unsigned int entries, size_t scratch_bytes,
		     const int *fds, unsigned int n, struct remote_ring *ret,
		     struct snap_error *err)
{
	struct remote_ring ring = {
		.injector = injector, .fd = FD_NONE, .remote_fd = FD_NONE, .gone_fd = FD_NONE};
	struct io_uring_params params;
	int r = count_threads(injector->tid, &ring.n_threads);

	if (r < 0)
		return snap_fail(err, SNAP_E_RESTORE, -r, "cannot read the threads of pid %d",
				 (int)injector->tid);
	if (n > REMOTE_RING_FILES_MAX)
		return snap_fail_plain(err, SNAP_E_INTERNAL, EINVAL, "too many files for a ring");
	r = make_scratch(&ring, scratch_bytes, err);
	if (r == 0)
		r = set_up(&ring, entries, &params, err);
	if (r == 0)
		r = take_over(&ring, err);
	if (r == 0)
		r = map_queues(&ring, &params, err);
	if (r == 0)
		r = register_files(&ring, fds, n, err);
	*ret = ring;
	if (r < 0)
		give_up(ret);
	return r;
}

uint64_t remote_ring_scratch(const struct remote_ring *ring)
{
	return ring->scratch + OWN_SCRATCH;
}

struct io_uring_sqe *remote_ring_next(struct remote_ring *ring)
{
	struct io_uring_sqe *sqe = &ring->sqes[(*ring->sq_tail + ring->n_new) & ring->sq_mask];

	ring->n_new++;
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

int remote_ring_enter(struct remote_ring *ring, unsigned int wait, unsigned int timeout_ms,
		      struct snap_error *err)
{
	const uint64_t at = ring->scratch + offsetof(struct own_scratch, wait);
	struct own_scratch own = {
		.wait.ts = ring->scratch + offsetof(struct own_scratch, timeout),
		.timeout = {.tv_sec = timeout_ms / 1000,
			    .tv_nsec = (long long)(timeout_ms % 1000 * NS_PER_MS)},
	};
	const uint64_t args[6] = {(uint64_t)ring->remote_fd,
				  ring->n_new,
				  wait,
				  IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG,
				  at,
				  sizeof(own.wait)};
	int64_t value;
	int r = copy_out(ring, at, &own.wait, sizeof(own) - offsetof(struct own_scratch, wait));

	if (r < 0)
		return snap_fail(err, SNAP_E_RESTORE, -r, "cannot write memory of pid %d",
				 (int)ring->injector->tid);
	__atomic_store_n(ring->sq_tail, *ring->sq_tail + ring->n_new, __ATOMIC_RELEASE);
	r = injector_call(ring->injector, SYS_io_uring_enter, args, &value, err);
	if (r < 0)
		return r;
	/* what it did not take is taken back, and is at the head of the new ones the next time */
	if (value > 0)
		ring->n_new -= (uint32_t)value;
	__atomic_store_n(ring->sq_tail, *ring->sq_tail - ring->n_new, __ATOMIC_RELEASE);
	if (value >= 0 || value == -ETIME || value == -EINTR || value == -EAGAIN || value == -EBUSY)
		return 0;
	return snap_fail(err, SNAP_E_RESTORE, (int)-value, "pid %d: io_uring_enter",
			 (int)ring->injector->tid);
}

bool remote_ring_take(struct remote_ring *ring, uint64_t *ret_data, int *ret_result)
{
	const struct io_uring_cqe *cqes = ring->cqes;
	uint32_t head = *ring->cq_head;

	if (head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE))
		return false;
	*ret_data = cqes[head & ring->cq_mask].user_data;
	*ret_result = cqes[head & ring->cq_mask].res;
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	return true;
}

int remote_ring_close(struct remote_ring *ring, struct snap_error *err)
{
	const uint64_t unmap[6] = {ring->scratch, ring->scratch_bytes};
	const uint64_t close[6] = {(uint64_t)ring->remote_fd};
	int64_t value;
	int r = 0, s;

	if (ring->rings)
		(void)munmap(ring->rings, ring->rings_bytes);
	if (ring->sqes)
		(void)munmap(ring->sqes, ring->sqes_bytes);
	ring->rings = NULL;
	ring->sqes = NULL;
	ring->fd = fd_close(ring->fd);
	if (ring->remote_fd >= 0)
		r = call(ring, SYS_close, close, &value, "close", err);
	ring->remote_fd = FD_NONE;
	if (ring->scratch) {
		s = call(ring, SYS_munmap, unmap, &value, "munmap", r == 0 ? err : NULL);
		r = r == 0 ? s : r;
	}
	ring->scratch = 0;
	return r;
}

static bool is_gone(const struct remote_ring *ring)
{
	struct pollfd poll_fd = {.fd = ring->gone_fd, .events = POLLIN};
	size_t n = 0;

	if (ring->gone_fd >= 0 && (poll(&poll_fd, 1, 0) != 1 || !(poll_fd.revents & POLLHUP)))
		return false;
	return count_threads(ring->injector->tid, &n) == 0 && n <= ring->n_threads;
}

/* the kernel's last work on the ring runs in the task, whenever the task leaves the kernel */
int remote_ring_settle(struct remote_ring *ring, uint64_t deadline_ns, struct snap_error *err)
{
	static const uint64_t no_args[6];
	const struct timespec nap = {.tv_nsec = SETTLE_STEP_NS};
	int r = 0;

	if (!ring->injector)
		return 0;
	while (r == 0 && !is_gone(ring)) {
		int64_t value;

		if (clock_now_ns() >= deadline_ns) {
			r = snap_fail_plain(err, SNAP_E_RESTORE, ETIMEDOUT,
					    "the ring in pid %d does not come to an end",
					    (int)ring->injector->tid);
			break;
		}
		r = injector_call(ring->injector, SYS_getpid, no_args, &value, err);
		if (r == 0)
			(void)nanosleep(&nap, NULL);
	}
	ring->gone_fd = fd_close(ring->gone_fd);
	return r;
}

#else

int remote_ring_make(struct injector *injector, unsigned int entries, size_t scratch_bytes,
		     const int *fds, unsigned int n, struct remote_ring *ret,
		     struct snap_error *err)
{
	(void)injector;
	(void)entries;
	(void)scratch_bytes;
	(void)fds;
	(void)n;
	*ret = (struct remote_ring){.fd = FD_NONE, .remote_fd = FD_NONE, .gone_fd = FD_NONE};
	return snap_fail_plain(err, SNAP_E_INTERNAL, ENOSYS,
			       "rings in other processes are for x86-64 only");
}

uint64_t remote_ring_scratch(const struct remote_ring *ring)
{
	return ring->scratch;
}

struct io_uring_sqe *remote_ring_next(struct remote_ring *ring)
{
	return ring->sqes;
}

int remote_ring_enter(struct remote_ring *ring, unsigned int wait, unsigned int timeout_ms,
		      struct snap_error *err)
{
	(void)ring;
	(void)wait;
	(void)timeout_ms;
	(void)err;
	return -ENOSYS;
}

bool remote_ring_take(struct remote_ring *ring, uint64_t *ret_data, int *ret_result)
{
	(void)ring;
	(void)ret_data;
	(void)ret_result;
	return false;
}

int remote_ring_close(struct remote_ring *ring, struct snap_error *err)
{
	(void)ring;
	(void)err;
	return 0;
}

int remote_ring_settle(struct remote_ring *ring, uint64_t deadline_ns, struct snap_error *err)
{
	(void)ring;
	(void)deadline_ns;
	(void)err;
	return 0;
}

#endif
