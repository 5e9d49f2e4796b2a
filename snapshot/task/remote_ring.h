/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_REMOTE_RING_H
#define SNAP_SNAPSHOT_TASK_REMOTE_RING_H

/*
 * An io_uring that belongs to another process: its reads land in the memory of that process. The
 * ring is made by a system call in the stopped task, its descriptor taken over, the queues are
 * mapped here and filled from here. Only what must run in the task's address space is injected:
 * io_uring_enter(), once for many requests.
 *
 * Requests name registered files (IOSQE_FIXED_FILE), which are descriptors of ours. Of the task's
 * own table one slot is used while the ring is there, and of its memory a scratch mapping.
 *
 * Requests must not block (RWF_NOWAIT): the kernel gives those that do to helper threads in the
 * task's process, and where that is in group-stop they stop too and never end.
 *
 * A ring ends in two parts. After remote_ring_close() the descriptor and the mapping are gone; but
 * the kernel frees the ring itself some milliseconds later, by work in the task. Who lets the task
 * run before remote_ring_settle() leaves it a system call that may be broken off once more.
 *
 * x86-64 only, as the injector; elsewhere remote_ring_make() fails with -ENOSYS.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/task/injector.h"

struct io_uring_sqe;

#define REMOTE_RING_FILES_MAX 4U

struct remote_ring {
	struct injector *injector; /* attached; borrowed */
	int fd;			   /* ours, FD_NONE: none */
	int remote_fd;		   /* in the task, FD_NONE: none */
	int gone_fd;		   /* end of file here: the kernel has freed the ring */
	uint64_t scratch;	   /* in the task, 0: none */
	size_t scratch_bytes;
	size_t n_threads; /* of the task before */
	/* queues, mapped here */
	void *rings;
	size_t rings_bytes;
	struct io_uring_sqe *sqes;
	size_t sqes_bytes;
	uint32_t *sq_tail;
	uint32_t *cq_head;
	uint32_t *cq_tail;
	const void *cqes;
	uint32_t sq_mask;
	uint32_t cq_mask;
	uint32_t n_new; /* requests that the kernel has not been told of */
};

/*
 * A ring in the injector's task with room for `entries` requests in flight, the n files of fds
 * registered as 0 … n - 1, and scratch_bytes of memory in the task that are the caller's to use.
 * Nothing is left behind on failure.
 */
int remote_ring_make(struct injector *injector, unsigned int entries, size_t scratch_bytes,
		     const int *fds, unsigned int n, struct remote_ring *ret,
		     struct snap_error *err);

/* the address in the task of the caller's scratch memory */
uint64_t remote_ring_scratch(const struct remote_ring *ring);

/* the next request, to be filled, zeroed; at most `entries` before the next enter */
struct io_uring_sqe *remote_ring_next(struct remote_ring *ring);

/*
 * Give the new requests to the kernel and wait until `wait` completions are to be taken, at most
 * for timeout_ms. 0, whatever has come, or negative errno: the ring takes no more.
 */
int remote_ring_enter(struct remote_ring *ring, unsigned int wait, unsigned int timeout_ms,
		      struct snap_error *err);

/* one completion, if there is any */
bool remote_ring_take(struct remote_ring *ring, uint64_t *ret_data, int *ret_result);

/* take back descriptor and memory; idempotent; -errno when the task could not be made to */
int remote_ring_close(struct remote_ring *ring, struct snap_error *err);

/*
 * Wait until the kernel has freed the closed ring and its helper threads have ended. No request is
 * under way after that. -ETIMEDOUT: not within the deadline, and the task must not run.
 */
int remote_ring_settle(struct remote_ring *ring, uint64_t deadline_ns, struct snap_error *err);

#endif
