/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/hold.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/pidref.h"
#include "common/procfs.h"
#include "snapshot/task/threads.h"

/* of all that were ever seen: a tree may fork faster than it is stopped for a while */
#define SEEN_MAX (1U << 20)
/* between two looks */
#define NAP_FIRST_NS 100000U
#define NAP_LAST_NS  2000000U

/* a process that is, or was, in the tree */
struct seen {
	pid_t pid;
	uint64_t start_ticks; /* tells it from a later process of the same pid */
	bool ours;	      /* we stopped it; else it was stopped when we came */
};

struct holder {
	pid_t root;
	struct seen *seen;
	size_t n;
	size_t room;
	bool settled; /* by the look going on: all are known, and every thread is stopped */
	/* a thread that was not stopped at the last look, for the message */
	pid_t loud_pid;
	pid_t loud_tid;
	char loud_state;
};

/* what the threads of a process are in */
struct states {
	bool any_group_stopped;
	pid_t loud_tid; /* not stopped; 0: none */
	char loud_state;
};

static void holder_done(struct holder *holder)
{
	free(holder->seen);
	*holder = (struct holder){0};
}

static struct seen *find_seen(const struct holder *holder, pid_t pid, uint64_t start_ticks)
{
	for (size_t i = 0; i < holder->n; i++) {
		if (holder->seen[i].pid == pid && holder->seen[i].start_ticks == start_ticks)
			return &holder->seen[i];
	}
	return NULL;
}

static int add_seen(struct holder *holder, const struct seen *seen)
{
	if (holder->n == holder->room) {
		size_t room = holder->room ? holder->room * 2 : 64;
		struct seen *bigger;

		if (room > SEEN_MAX)
			return -E2BIG;
		bigger = reallocarray(holder->seen, room, sizeof(*bigger));
		if (!bigger)
			return -ENOMEM;
		holder->seen = bigger;
		holder->room = room;
	}
	holder->seen[holder->n++] = *seen;
	return 0;
}

static int look_at_thread(pid_t tid, void *arg)
{
	struct states *states = arg;
	struct proc_stat stat;

	if (procfs_stat(tid, &stat) < 0)
		return 0;
	switch (stat.state) {
	case 'T':
		states->any_group_stopped = true;
		break;
	case 't':
	case 'Z':
	case 'X':
		break;
	default:
		if (states->loud_tid != 0 && stat.state != 'D')
			break;
		states->loud_tid = tid;
		states->loud_state = stat.state;
	}
	return 0;
}

static int find_sleeping_hard(pid_t tid, void *arg)
{
	struct proc_stat stat;

	(void)arg;
	return procfs_stat(tid, &stat) == 0 && stat.state == 'D';
}

/*
 * A child of vfork() lives in its parent's memory, and the parent waits for it in state D: stopped,
 * the child would keep its parent from ever stopping.
 */
static bool is_waited_for(const struct tree_process *process)
{
	return syscall(SYS_kcmp, process->pid, process->ppid, KCMP_VM, 0, 0) == 0 &&
	       threads_each(process->ppid, find_sleeping_hard, NULL) == 1;
}

/*
 * By pidfd, and only if it is the one that was looked at: a stranger who got its pid is left alone.
 * -ESRCH: it is gone.
 */
static int signal_exactly(pid_t pid, uint64_t start_ticks, int sig)
{
	snap_cleanup(pidref_done) struct pidref ref = PIDREF_NONE;
	struct proc_stat stat;
	int r = pidref_open(&ref, pid);

	if (r < 0)
		return r;
	if (procfs_stat(pid, &stat) < 0 || stat.start_ticks != start_ticks)
		return -ESRCH;
	return pidref_kill(&ref, sig);
}

static int stop_new(struct holder *holder, const struct tree_process *process, uint64_t start_ticks,
		    const struct states *states)
{
	struct seen seen = {process->pid, start_ticks, !states->any_group_stopped};
	int r;

	holder->settled = false;
	if (seen.ours && is_waited_for(process))
		return 0;
	/* the tree may have moved: who has another parent by now is not ours to stop */
	if (process->pid != holder->root && !procfs_is_descendant(process->pid, holder->root))
		return 0;
	r = add_seen(holder, &seen);
	if (r == 0 && seen.ours) {
		r = signal_exactly(process->pid, start_ticks, SIGSTOP);
		if (r < 0)
			holder->n--;
	}
	return r;
}

/* state D says more than the state of one who waits for it, or who was only just born */
static void note_loud(struct holder *holder, pid_t pid, const struct states *states)
{
	if (holder->loud_pid != 0 && states->loud_state != 'D')
		return;
	holder->loud_pid = pid;
	holder->loud_tid = states->loud_tid;
	holder->loud_state = states->loud_state;
}

static int look_at_process(struct holder *holder, const struct tree_process *process)
{
	struct states states = {0};
	struct proc_stat stat;
	struct seen *seen;
	int r = procfs_stat(process->pid, &stat);

	if (r == 0)
		r = threads_each(process->pid, look_at_thread, &states);
	if (r < 0)
		return r;
	if (states.loud_tid) {
		holder->settled = false;
		note_loud(holder, process->pid, &states);
	}
	seen = find_seen(holder, process->pid, stat.start_ticks);
	if (!seen)
		return stop_new(holder, process, stat.start_ticks, &states);
	if (seen->ours && is_waited_for(process)) {
		holder->settled = false;
		*seen = holder->seen[--holder->n];
		return signal_exactly(process->pid, stat.start_ticks, SIGCONT);
	}
	/* somebody, perhaps one of the tree before its own stop, has continued it */
	if (states.loud_tid && states.loud_state != 'D' && !states.any_group_stopped) {
		seen->ours = true;
		return signal_exactly(process->pid, stat.start_ticks, SIGSTOP);
	}
	return 0;
}

/* 0 and *ret; holder->settled says whether nothing was left to do */
static int look(struct holder *holder, struct task_tree *ret, struct snap_error *err)
{
	int r;

	holder->settled = true;
	holder->loud_pid = 0;
	r = task_tree_collect(holder->root, ret, err);
	if (r == -EAGAIN || r == -ENOENT) { /* it moved under the reader */
		holder->settled = false;
		return 0;
	}
	if (r < 0)
		return r;
	for (size_t i = 0; i < ret->n_processes; i++) {
		if (ret->processes[i].zombie)
			continue;
		r = look_at_process(holder, &ret->processes[i]);
		if (r == -ESRCH || r == -ENOENT) {
			holder->settled = false;
			continue;
		}
		if (r < 0)
			return snap_fail(err, SNAP_E_DUMP, -r, "cannot stop process %d (%s)",
					 (int)ret->processes[i].pid, ret->processes[i].comm);
	}
	return 0;
}

/* children were seen after their parents */
static void continue_seen(const struct holder *holder, const struct task_tree *except)
{
	for (size_t i = holder->n; i > 0; i--) {
		const struct seen *seen = &holder->seen[i - 1];

		if (seen->ours && !(except && task_tree_has(except, seen->pid)))
			(void)signal_exactly(seen->pid, seen->start_ticks, SIGCONT);
	}
}

static int fail_late(const struct holder *holder, struct snap_error *err)
{
	struct proc_stat stat = {0};

	if (holder->loud_pid == 0)
		return snap_fail_plain(err, SNAP_E_DUMP, ETIMEDOUT,
				       "the tree below process %d does not come to rest",
				       (int)holder->root);
	(void)procfs_stat(holder->loud_pid, &stat);
	return snap_fail_plain(
		err, SNAP_E_DUMP, ETIMEDOUT,
		"thread %d of process %d (%s) does not stop: it is in state %c%s",
		(int)holder->loud_tid, (int)holder->loud_pid, stat.comm, holder->loud_state,
		holder->loud_state == 'D' ? ", waiting for a device or a vfork child" : "");
}

/*
 * Twice at rest: who was found at rest the second time was looked for when all others were stopped
 * already, so nobody was left to make one more.
 */
static int stop_all(struct holder *holder, uint64_t deadline_ns, struct task_tree *ret,
		    struct snap_error *err)
{
	struct timespec nap = {.tv_nsec = NAP_FIRST_NS};
	bool settled_before = false;

	for (;;) {
		int r;

		task_tree_done(ret);
		r = look(holder, ret, err);
		if (r < 0)
			return r;
		if (holder->settled && settled_before)
			return 0;
		settled_before = holder->settled;
		if (clock_now_ns() >= deadline_ns)
			return fail_late(holder, err);
		if (settled_before)
			continue;
		(void)nanosleep(&nap, NULL);
		nap.tv_nsec = nap.tv_nsec * 2 < NAP_LAST_NS ? nap.tv_nsec * 2 : NAP_LAST_NS;
	}
}

static int list_stopped_before(const struct holder *holder, const struct task_tree *tree,
			       struct task_hold *ret)
{
	ret->stopped_before = calloc(holder->n + 1, sizeof(*ret->stopped_before));
	if (!ret->stopped_before)
		return -ENOMEM;
	for (size_t i = 0; i < holder->n; i++) {
		if (!holder->seen[i].ours && task_tree_has(tree, holder->seen[i].pid))
			ret->stopped_before[ret->n_stopped_before++] = holder->seen[i].pid;
	}
	return 0;
}

int task_hold_stop(pid_t root, uint64_t deadline_ns, struct task_hold *ret,
		   struct task_tree *ret_tree, struct snap_error *err)
{
	snap_cleanup(holder_done) struct holder holder = {.root = root};
	struct task_tree tree = {0};
	int r;

	*ret = (struct task_hold){0};
	r = stop_all(&holder, deadline_ns, &tree, err);
	if (r == 0 && list_stopped_before(&holder, &tree, ret) < 0)
		r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	/* those too that have left the tree, stopped: nobody else would ever continue them */
	continue_seen(&holder, r < 0 ? NULL : &tree);
	if (r < 0) {
		task_tree_done(&tree);
		return r;
	}
	*ret_tree = tree;
	return 0;
}

static bool was_stopped_before(const struct task_hold *hold, pid_t pid)
{
	for (size_t i = 0; hold && i < hold->n_stopped_before; i++) {
		if (hold->stopped_before[i] == pid)
			return true;
	}
	return false;
}

int task_hold_continue(pid_t root, const struct task_hold *hold, struct snap_error *err)
{
	snap_cleanup(task_tree_done) struct task_tree tree = {0};
	int r = task_tree_collect(root, &tree, err);

	if (r < 0)
		return r;
	/* children first: nobody waits for a child that is still stopped */
	for (size_t i = tree.n_processes; i > 0; i--) {
		const struct tree_process *process = &tree.processes[i - 1];

		if (process->zombie || was_stopped_before(hold, process->pid))
			continue;
		if (kill(process->pid, SIGCONT) < 0 && errno != ESRCH && r == 0)
			r = snap_fail(err, SNAP_E_RESTORE, errno, "cannot continue process %d",
				      (int)process->pid);
	}
	return r;
}

void task_hold_done(struct task_hold *hold)
{
	free(hold->stopped_before);
	*hold = (struct task_hold){0};
}
