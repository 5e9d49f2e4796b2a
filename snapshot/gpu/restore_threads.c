/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/restore_threads.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

#include "common/clock.h"
#include "common/procfs.h"

#define STOP_DEADLINE_MS 5000U
#define LOOK_MS		 200U  /* for one that may be stopped to turn out to be */
#define THREADS_MAX	 1024U /* of all processes together, those made meanwhile included */
#define YIELDS		 100U

static void wait_a_little(unsigned int turn)
{
	struct timespec nap = {.tv_nsec = 200000};

	if (turn < YIELDS)
		(void)sched_yield();
	else
		(void)nanosleep(&nap, NULL);
}

/* for one more */
static int make_room(struct restore_threads *threads)
{
	if (threads->n == threads->room) {
		size_t room = threads->room ? threads->room * 2 : 8;
		struct restore_thread *bigger;

		if (room > THREADS_MAX)
			return -E2BIG;
		bigger = reallocarray(threads->items, room, sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		threads->items = bigger;
		threads->room = room;
	}
	return 0;
}

/* 1 and *ret_status: it has stopped; 0: it has not; -ESRCH: it has ended */
static int look(struct restore_thread *thread, int *ret_status)
{
	pid_t tid = waitpid(thread->tid, ret_status, __WALL | WNOHANG);

	if (tid == 0)
		return 0;
	if (tid < 0 || !WIFSTOPPED(*ret_status)) {
		thread->ended = true;
		return -ESRCH;
	}
	thread->running = false;
	return 1;
}

static int await_stop(struct restore_thread *thread, uint64_t deadline_ns, int *ret_status)
{
	for (unsigned int turn = 0;; turn++) {
		int r = look(thread, ret_status);

		if (r != 0)
			return r < 0 ? r : 0;
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		wait_a_little(turn);
	}
}

/* a signal on its way is delivered as ever; stops of ptrace's own are no signals */
static int signal_of(int status)
{
	return (unsigned int)status >> 16 != 0 ? 0 : WSTOPSIG(status);
}

static void go_on(struct restore_thread *thread, int status)
{
	if (ptrace(PTRACE_CONT, thread->tid, NULL, (void *)(long)signal_of(status)) == 0)
		thread->running = true;
	else if (errno == ESRCH)
		thread->ended = true;
}

/* it has made a thread, which we trace too and which stops at once because its process is stopped
 */
static void take_new(struct restore_threads *threads, const struct restore_thread *maker)
{
	struct restore_thread made = {.pid = maker->pid, .running = true};
	unsigned long tid = 0;

	if (ptrace(PTRACE_GETEVENTMSG, maker->tid, NULL, &tid) < 0)
		return;
	made.tid = (pid_t)tid;
	/* one too many is not continued: what waits for it ends at its deadline */
	if (make_room(threads) == 0)
		threads->items[threads->n++] = made;
}

void restore_threads_serve(struct restore_threads *threads)
{
	for (size_t i = 0; i < threads->n; i++) {
		int status;

		if (threads->items[i].ended || look(&threads->items[i], &status) != 1)
			continue;
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_CLONE << 8))
			take_new(threads, &threads->items[i]); /* may move the items */
		go_on(&threads->items[i], status);
	}
}

/* who is let go takes its part in the group-stop by itself; 0 for one that has ended too */
static int await_rest(pid_t tid, uint64_t deadline_ns)
{
	for (unsigned int turn = 0;; turn++) {
		struct proc_stat stat;

		if (procfs_stat(tid, &stat) < 0 || stat.state == 'T' || stat.state == 'Z' ||
		    stat.state == 'X')
			return 0;
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		wait_a_little(turn);
	}
}

static int seize(struct restore_threads *threads, const struct restore_thread *thread,
		 struct snap_error *err)
{
	struct restore_thread *added;
	int status, r;

	if (ptrace(PTRACE_SEIZE, thread->tid, NULL, (void *)(long)PTRACE_O_TRACECLONE) < 0)
		return snap_fail(err, SNAP_E_GPU, errno,
				 "cannot trace the restore thread %d of process %d",
				 (int)thread->tid, (int)thread->pid);
	added = &threads->items[threads->n++];
	*added = *thread;
	r = await_stop(added, deadline_after_ms(STOP_DEADLINE_MS), &status);
	if (r < 0)
		return snap_fail(err, SNAP_E_GPU, -r,
				 "the restore thread %d of process %d does not stop",
				 (int)thread->tid, (int)thread->pid);
	go_on(added, status);
	return 0;
}

int restore_threads_run(struct restore_threads *threads, pid_t pid, pid_t tid, bool stopped,
			struct snap_error *err)
{
	struct restore_thread thread = {.pid = pid, .tid = tid, .running = true};
	int r = await_rest(tid, deadline_after_ms(stopped ? STOP_DEADLINE_MS : LOOK_MS));

	if (r < 0 && !stopped)
		return 0;
	if (r < 0)
		return snap_fail(err, SNAP_E_GPU, -r, "process %d is not stopped", (int)pid);
	r = make_room(threads);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note a thread");
	return seize(threads, &thread, err);
}

static int let_go(struct restore_thread *thread, uint64_t deadline_ns)
{
	int status = 0, r = 0;

	if (thread->running && ptrace(PTRACE_INTERRUPT, thread->tid, NULL, NULL) == 0)
		r = await_stop(thread, deadline_ns, &status);
	if (r == 0 && !thread->ended &&
	    ptrace(PTRACE_DETACH, thread->tid, NULL, (void *)(long)signal_of(status)) < 0)
		r = -errno;
	return r == -ESRCH ? 0 : r;
}

int restore_threads_stop(struct restore_threads *threads, struct snap_error *err)
{
	uint64_t deadline_ns = deadline_after_ms(STOP_DEADLINE_MS);
	int first = 0;

	for (size_t i = 0; i < threads->n; i++) {
		int r = threads->items[i].ended ? 0 : let_go(&threads->items[i], deadline_ns);

		if (r == 0)
			r = await_rest(threads->items[i].tid, deadline_ns);
		if (r < 0 && first == 0)
			first = snap_fail(err, SNAP_E_GPU, -r,
					  "thread %d of process %d is not let go",
					  (int)threads->items[i].tid, (int)threads->items[i].pid);
	}
	free(threads->items);
	*threads = (struct restore_threads){0};
	return first;
}
