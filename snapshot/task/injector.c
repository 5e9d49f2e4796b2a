/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/injector.h"

#include <errno.h>

#ifdef __x86_64__

#	include <elf.h>
#	include <sched.h>
#	include <signal.h>
#	include <stdlib.h>
#	include <string.h>
#	include <sys/ptrace.h>
#	include <sys/uio.h>
#	include <sys/wait.h>
#	include <time.h>
#	include <unistd.h>

#	include "common/clock.h"
#	include "common/procfs.h"
#	include "snapshot/task/syscall_insn.h"

#	define STOP_DEADLINE_MS 10000U
/* how long a thread let go may need to its group-stop: it runs a few lines of kernel code */
#	define REST_DEADLINE_MS    100U
#	define YIELDS_BEFORE_SLEEP 300U

#	define CS_64BIT 0x33U
/* what a system call answers inside the kernel when a signal has broken it off */
#	define ERESTARTSYS	      512
#	define ERESTART_RESTARTBLOCK 516
#	define SI_CODE_SECCOMP	      1 /* SYS_SECCOMP of <bits/siginfo-consts.h> */

enum stop_kind {
	STOP_EVENT,   /* ours, or group-stop; the thread is where signals are handled */
	STOP_SIGNAL,  /* a signal is about to be delivered; the same place */
	STOP_SYSCALL, /* entry to or exit from a system call */
};

struct stop {
	enum stop_kind kind;
	int sig;
};

static void wait_a_little(unsigned int turn)
{
	struct timespec nap = {.tv_nsec = turn < YIELDS_BEFORE_SLEEP + 50 ? 20000 : 500000};

	if (turn < YIELDS_BEFORE_SLEEP)
		(void)sched_yield();
	else
		(void)nanosleep(&nap, NULL);
}

static bool is_own_child(pid_t tid)
{
	struct proc_stat stat;
	char group[16];

	return procfs_stat(tid, &stat) == 0 && stat.ppid == getpid() &&
	       procfs_status_field(tid, "Tgid", group, sizeof(group)) == 0 && atoi(group) == tid;
}

/*
 * A dead tracee is kept from its parent until its tracer has looked at it. Where the parent is our
 * own process, that look would eat the status that somebody else of us waits for.
 */
static void hand_over_dead(pid_t tid)
{
	if (!is_own_child(tid))
		(void)waitpid(tid, NULL, __WALL | WNOHANG);
}

static struct stop read_stop(int status)
{
	int event = (int)((unsigned int)status >> 16), sig = WSTOPSIG(status);

	if (event != 0)
		return (struct stop){STOP_EVENT, sig};
	if (sig == (SIGTRAP | 0x80))
		return (struct stop){STOP_SYSCALL, SIGTRAP};
	return (struct stop){STOP_SIGNAL, sig};
}

/* 0 and *ret; -ESRCH (dead, and handed over), -ETIMEDOUT */
static int wait_stop(struct injector *injector, uint64_t deadline_ns, struct stop *ret)
{
	const int options = WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL;

	for (unsigned int turn = 0;; turn++) {
		siginfo_t info = {0};
		int status;

		if (waitid(P_PID, (id_t)injector->tid, &info, options) < 0)
			return errno == ECHILD ? -ESRCH : -errno;
		if (info.si_pid != 0 && info.si_code != CLD_TRAPPED &&
		    info.si_code != CLD_STOPPED) {
			hand_over_dead(injector->tid);
			return -ESRCH;
		}
		if (info.si_pid != 0 &&
		    waitpid(injector->tid, &status, __WALL | WNOHANG) == injector->tid &&
		    WIFSTOPPED(status)) {
			injector->running = false;
			*ret = read_stop(status);
			if (ret->kind == STOP_EVENT)
				injector->group_stopped = ret->sig != SIGTRAP;
			return 0;
		}
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		wait_a_little(turn);
	}
}

/* ptrace() answers -ESRCH for one killed in its stop: see it to its end */
static int after_failure(struct injector *injector, int r)
{
	struct stop stop;

	if (r != -ESRCH)
		return r;
	(void)wait_stop(injector, deadline_after_ms(STOP_DEADLINE_MS), &stop);
	return -ESRCH;
}

static int resume(struct injector *injector, enum __ptrace_request request, int sig)
{
	if (ptrace(request, injector->tid, NULL, (void *)(long)sig) < 0)
		return after_failure(injector, -errno);
	injector->running = true;
	return 0;
}

static int get_registers(struct injector *injector, struct user_regs_struct *ret)
{
	if (ptrace(PTRACE_GETREGS, injector->tid, NULL, ret) < 0)
		return after_failure(injector, -errno);
	return 0;
}

static int set_registers(struct injector *injector, const struct user_regs_struct *regs)
{
	if (ptrace(PTRACE_SETREGS, injector->tid, NULL, regs) < 0)
		return after_failure(injector, -errno);
	return 0;
}

static int set_mask(struct injector *injector, uint64_t mask)
{
	if (ptrace(PTRACE_SETSIGMASK, injector->tid, (void *)sizeof(mask), &mask) < 0)
		return after_failure(injector, -errno);
	return 0;
}

/*
 * Stop it for the first time; signals on their way are delivered as ever. One in group-stop traps
 * by being seized, and an interrupt would only make it trap once more.
 */
static int stop_own_life(struct injector *injector, uint64_t deadline_ns)
{
	struct stop stop;
	int sig = 0, r;

	if (injector->group_stopped) {
		r = wait_stop(injector, deadline_after_ms(REST_DEADLINE_MS), &stop);
		if (r != -ETIMEDOUT)
			sig = r == 0 && stop.kind == STOP_SIGNAL ? stop.sig : 0;
		if ((r < 0 && r != -ETIMEDOUT) || (r == 0 && stop.kind == STOP_EVENT))
			return r;
	}
	for (;;) {
		r = 0;
		/* any stop takes the wish for one back, so it is repeated */
		if (ptrace(PTRACE_INTERRUPT, injector->tid, NULL, NULL) < 0)
			return after_failure(injector, -errno);
		if (!injector->running)
			r = resume(injector, PTRACE_CONT, sig);
		if (r == 0)
			r = wait_stop(injector, deadline_ns, &stop);
		if (r < 0 || stop.kind == STOP_EVENT)
			return r;
		sig = stop.kind == STOP_SIGNAL ? stop.sig : 0;
	}
}

/*
 * One that nothing can interrupt could not be let go either before it came out of it by itself:
 * better not to seize it
 */
static int wait_interruptible(pid_t tid, uint64_t deadline_ns, bool *ret_group_stopped)
{
	for (unsigned int turn = 0;; turn++) {
		struct proc_stat stat;
		int r = procfs_stat(tid, &stat);

		if (r < 0)
			return r == -ENOENT ? -ESRCH : r;
		if (stat.state == 'Z' || stat.state == 'X')
			return -ESRCH;
		*ret_group_stopped = stat.state == 'T';
		if (stat.state != 'D')
			return 0;
		if (clock_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		wait_a_little(turn);
	}
}

static int fail_seize(pid_t tid, int errnum, struct snap_error *err)
{
	char tracer[16] = "0";

	if (errnum == EPERM && procfs_status_field(tid, "TracerPid", tracer, sizeof(tracer)) == 0 &&
	    strcmp(tracer, "0") != 0)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, EPERM,
				       "thread %d is traced by process %s already", (int)tid,
				       tracer);
	return snap_fail(err, errnum == EPERM ? SNAP_E_PREFLIGHT : SNAP_E_INTERNAL, errnum,
			 "cannot trace thread %d", (int)tid);
}

static int suspend_seccomp(pid_t tid, struct snap_error *err)
{
	long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP;

	if (ptrace(PTRACE_SETOPTIONS, tid, NULL, (void *)options) == 0)
		return 0;
	return snap_fail(err, errno == EPERM ? SNAP_E_PREFLIGHT : SNAP_E_INTERNAL, errno,
			 "cannot suspend the seccomp filters of thread %d", (int)tid);
}

static int look_at_stopped(struct injector *injector, bool suspend, struct snap_error *err)
{
	int r;

	if (suspend) {
		r = suspend_seccomp(injector->tid, err);
		if (r < 0)
			return r;
	}
	r = get_registers(injector, &injector->saved);
	if (r == 0 && ptrace(PTRACE_GETSIGMASK, injector->tid, (void *)sizeof(injector->saved_mask),
			     &injector->saved_mask) < 0)
		r = after_failure(injector, -errno);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot read the registers of thread %d",
				 (int)injector->tid);
	if (injector->saved.cs != CS_64BIT)
		return snap_fail_plain(err, SNAP_E_UNSNAPSHOTABLE, ENOSYS,
				       "thread %d runs 32-bit code", (int)injector->tid);
	return 0;
}

int injector_attach(pid_t tid, const struct injector_options *options, struct injector *ret,
		    struct snap_error *err)
{
	static const struct injector_options none;
	uint64_t deadline_ns = deadline_after_ms(STOP_DEADLINE_MS);
	struct injector injector = {.tid = tid};
	int r;

	if (!options)
		options = &none;
	injector.note = options->note;
	injector.note_arg = options->note_arg;
	injector.syscall_at = options->syscall_at;
	*ret = (struct injector){0};

	r = wait_interruptible(tid, deadline_ns, &injector.group_stopped);
	if (r == -ETIMEDOUT)
		return snap_fail_plain(err, SNAP_E_INTERNAL, ETIMEDOUT,
				       "thread %d is in state D and cannot be stopped", (int)tid);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot trace thread %d", (int)tid);
	if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)(long)PTRACE_O_TRACESYSGOOD) < 0)
		return fail_seize(tid, errno, err);
	injector.running = true;
	r = stop_own_life(&injector, deadline_ns);
	if (r < 0) {
		if (r == -ETIMEDOUT)
			*ret = injector;
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot stop thread %d", (int)tid);
	}
	r = look_at_stopped(&injector, options->suspend_seccomp, err);
	if (r < 0) {
		(void)injector_detach(&injector);
		return r;
	}
	*ret = injector;
	return 0;
}

static bool has_filters(pid_t tid)
{
	char mode[8];

	return procfs_status_field(tid, "Seccomp", mode, sizeof(mode)) == 0 &&
	       strcmp(mode, "0") != 0;
}

int injector_attach_past_filters(pid_t tid, const struct injector_options *options,
				 struct injector *ret, bool *ret_filtered, struct snap_error *err)
{
	struct injector_options own = options ? *options : (struct injector_options){0};
	int r;

	*ret_filtered = false;
	own.suspend_seccomp = has_filters(tid);
	r = injector_attach(tid, &own, ret, err);
	if (r != -EPERM || !own.suspend_seccomp)
		return r;
	*ret_filtered = true;
	own.suspend_seccomp = false;
	return injector_attach(tid, &own, ret, err);
}

static bool is_info_of_our_call(const struct injector *injector, const siginfo_t *info)
{
	return info->si_signo == SIGSYS && info->si_code == SI_CODE_SECCOMP && injector->changed &&
	       (uint64_t)(uintptr_t)info->si_call_addr == injector->syscall_at + SYSCALL_INSN_BYTES;
}

/* a filter of the thread's own answered our call with a signal */
static bool is_of_our_call(const struct injector *injector, int sig)
{
	siginfo_t info;

	return sig == SIGSYS && ptrace(PTRACE_GETSIGINFO, injector->tid, NULL, &info) == 0 &&
	       is_info_of_our_call(injector, &info);
}

/*
 * What to resume with at a signal, so that it is not lost and no handler starts on our registers:
 * the kernel queues a signal again, as it was, that turns out to be blocked. Negative errno, or
 * the signal.
 */
static int keep_pending(struct injector *injector, int sig)
{
	int r;

	if (is_of_our_call(injector, sig))
		return 0;
	if (injector->mask_closed || sig == SIGSTOP)
		return sig; /* nobody blocks SIGSTOP: the group stops, with us in its middle */
	r = set_mask(injector, UINT64_MAX);
	if (r < 0)
		return r;
	injector->mask_closed = true;
	return sig;
}

/* from the registers set up to the exit of the call */
static int run_call(struct injector *injector)
{
	uint64_t deadline_ns = deadline_after_ms(STOP_DEADLINE_MS);
	int sig = 0;

	for (;;) {
		struct stop stop;
		int r = resume(injector, PTRACE_SYSCALL, sig);

		if (r == 0)
			r = wait_stop(injector, deadline_ns, &stop);
		if (r < 0)
			return r;
		sig = 0;
		if (stop.kind == STOP_SYSCALL) {
			injector->in_call = !injector->in_call;
			if (!injector->in_call)
				return 0;
		} else if (stop.kind == STOP_SIGNAL) {
			sig = keep_pending(injector, stop.sig);
			if (sig < 0)
				return sig;
		}
	}
}

static bool filter_has_signalled(const struct injector *injector)
{
	struct __ptrace_peeksiginfo_args args = {.nr = 1};
	siginfo_t info;

	while (ptrace(PTRACE_PEEKSIGINFO, injector->tid, &args, &info) == 1) {
		if (is_info_of_our_call(injector, &info))
			return true;
		args.off++;
	}
	return false;
}

/* go to the stop for that signal, which is the next one, and forget it there: none is resumed with
 */
static int drop_signal_of_filter(struct injector *injector)
{
	uint64_t deadline_ns = deadline_after_ms(STOP_DEADLINE_MS);
	int sig = 0;

	for (;;) {
		struct stop stop;
		int r = resume(injector, PTRACE_CONT, sig);

		if (r == 0)
			r = wait_stop(injector, deadline_ns, &stop);
		if (r < 0)
			return r;
		if (stop.kind == STOP_SIGNAL && is_of_our_call(injector, stop.sig))
			return 0;
		sig = stop.kind == STOP_SIGNAL ? keep_pending(injector, stop.sig) : 0;
		if (sig < 0)
			return sig;
	}
}

static int begin_change(struct injector *injector, struct snap_error *err)
{
	struct user_regs_struct regs;
	int r;

	if (injector->tid == 0 || injector->running)
		return snap_fail_plain(err, SNAP_E_INTERNAL, EINVAL,
				       "thread %d takes no system call", (int)injector->tid);
	if (injector->changed)
		return 0;
	r = syscall_insn_find(injector->tid, injector->syscall_at, &injector->syscall_at);
	/* one that is being killed has no memory any more to find anything in */
	if (r < 0 && get_registers(injector, &regs) == -ESRCH)
		r = -ESRCH;
	if (r == -ENOSYS)
		return snap_fail_plain(err, SNAP_E_UNSNAPSHOTABLE, ENOSYS,
				       "thread %d has no vdso, and no file that it has mapped for "
				       "execution holds a syscall instruction",
				       (int)injector->tid);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r,
				 "cannot find a syscall instruction in thread %d",
				 (int)injector->tid);
	r = injector->note ? injector->note(injector, injector->note_arg) : 0;
	if (r != 0)
		return snap_fail(err, SNAP_E_INTERNAL, r < 0 ? -r : ECANCELED,
				 "cannot note the registers of thread %d", (int)injector->tid);
	injector->changed = true;
	return 0;
}

int injector_call(struct injector *injector, long number, const uint64_t args[6],
		  int64_t *ret_value, struct snap_error *err)
{
	struct user_regs_struct regs;
	int r = begin_change(injector, err);

	if (r < 0)
		return r;
	regs = injector->saved;
	regs.rip = injector->syscall_at;
	regs.rax = (uint64_t)number;
	regs.orig_rax = UINT64_MAX; /* not in a call: nothing for the kernel to restart */
	regs.rdi = args[0];
	regs.rsi = args[1];
	regs.rdx = args[2];
	regs.r10 = args[3];
	regs.r8 = args[4];
	regs.r9 = args[5];
	r = set_registers(injector, &regs);
	if (r == 0)
		r = run_call(injector);
	if (r == 0)
		r = get_registers(injector, &regs);
	/* SECCOMP_RET_TRAP rolls the number back to where the result would be */
	if (r == 0 && regs.rax == (uint64_t)number && filter_has_signalled(injector)) {
		regs.rax = (uint64_t)-ENOSYS;
		r = drop_signal_of_filter(injector);
	}
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r,
				 "cannot make system call %ld in thread %d", number,
				 (int)injector->tid);
	*ret_value = (int64_t)regs.rax;
	if (*ret_value <= -ERESTARTSYS && *ret_value >= -ERESTART_RESTARTBLOCK)
		*ret_value = -EINTR;
	return 0;
}

/*
 * To where signals are handled: only there does the kernel look whether the call that the saved
 * registers are in has to be restarted, and only there may they be put back. *ret_sig is the
 * signal to be delivered, if the stop was one for that.
 */
static int stop_where_signals_are(struct injector *injector, int *ret_sig)
{
	uint64_t deadline_ns = deadline_after_ms(STOP_DEADLINE_MS);

	for (;;) {
		struct user_regs_struct regs;
		struct stop stop;
		int r = 0;

		if (ptrace(PTRACE_INTERRUPT, injector->tid, NULL, NULL) < 0)
			return after_failure(injector, -errno);
		if (!injector->running)
			r = resume(injector, PTRACE_CONT, 0);
		if (r == 0)
			r = wait_stop(injector, deadline_ns, &stop);
		if (r < 0)
			return r;
		if (stop.kind == STOP_SIGNAL && !is_of_our_call(injector, stop.sig))
			*ret_sig = stop.sig;
		if (stop.kind != STOP_SYSCALL)
			return 0;
		if (!injector->in_call) {
			/* at the entry of a call that nobody waits for any more */
			r = get_registers(injector, &regs);
			regs.orig_rax = UINT64_MAX;
			if (r == 0)
				r = set_registers(injector, &regs);
			if (r < 0)
				return r;
		}
		injector->in_call = !injector->in_call;
	}
}

static void wait_group_stop(pid_t tid)
{
	uint64_t deadline_ns = deadline_after_ms(REST_DEADLINE_MS);
	struct proc_stat stat;

	for (unsigned int turn = 0;
	     procfs_stat(tid, &stat) == 0 && stat.state != 'T' && stat.state != 'Z' &&
	     stat.state != 'X' && clock_now_ns() < deadline_ns;
	     turn++)
		wait_a_little(turn);
}

int injector_detach(struct injector *injector)
{
	int r = 0, sig = 0;

	if (injector->tid == 0)
		return 0;
	if (injector->changed || injector->running)
		r = stop_where_signals_are(injector, &sig);
	if (r == 0 && injector->changed)
		r = set_registers(injector, &injector->saved);
	if (r == 0 && injector->mask_closed)
		r = set_mask(injector, injector->saved_mask);
	if (r == 0 && ptrace(PTRACE_DETACH, injector->tid, NULL, (void *)(long)sig) < 0)
		r = after_failure(injector, -errno);
	if (r == -ETIMEDOUT)
		return r; /* still ours: try again */
	if (r == 0 && injector->group_stopped)
		wait_group_stop(injector->tid);
	*injector = (struct injector){0};
	return r;
}

ssize_t injector_read_extended(const struct injector *injector, void *buf, size_t room)
{
	struct iovec part = {buf, room};

	if (ptrace(PTRACE_GETREGSET, injector->tid, (void *)NT_X86_XSTATE, &part) < 0)
		return -errno;
	return part.iov_len < room ? (ssize_t)part.iov_len : -E2BIG;
}

static int set_extended(struct injector *injector, const void *extended, size_t bytes)
{
	struct iovec part = {(void *)(uintptr_t)extended, bytes};

	if (bytes > 0 && ptrace(PTRACE_SETREGSET, injector->tid, (void *)NT_X86_XSTATE, &part) < 0)
		return after_failure(injector, -errno);
	return 0;
}

int injector_put_back(pid_t tid, const struct user_regs_struct *saved, uint64_t saved_mask,
		      const void *extended, size_t extended_bytes, struct snap_error *err)
{
	struct injector injector;
	int r = injector_attach(tid, NULL, &injector, err);

	if (r < 0) {
		(void)injector_detach(&injector);
		return r;
	}
	r = set_registers(&injector, saved);
	if (r == 0)
		r = set_extended(&injector, extended, extended_bytes);
	if (r == 0)
		r = set_mask(&injector, saved_mask);
	if (r < 0)
		(void)injector_detach(&injector);
	else
		r = injector_detach(&injector);
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r,
				 "cannot put the registers of thread %d back", (int)tid);
	return 0;
}

#else

static int fail_machine(struct snap_error *err)
{
	return snap_fail_plain(err, SNAP_E_INTERNAL, ENOSYS,
			       "system calls in other processes are for x86-64 only");
}

int injector_attach(pid_t tid, const struct injector_options *options, struct injector *ret,
		    struct snap_error *err)
{
	(void)tid;
	(void)options;
	*ret = (struct injector){0};
	return fail_machine(err);
}

int injector_attach_past_filters(pid_t tid, const struct injector_options *options,
				 struct injector *ret, bool *ret_filtered, struct snap_error *err)
{
	*ret_filtered = false;
	return injector_attach(tid, options, ret, err);
}

int injector_call(struct injector *injector, long number, const uint64_t args[6],
		  int64_t *ret_value, struct snap_error *err)
{
	(void)injector;
	(void)number;
	(void)args;
	(void)ret_value;
	return fail_machine(err);
}

int injector_detach(struct injector *injector)
{
	return injector->tid == 0 ? 0 : -ENOSYS;
}

ssize_t injector_read_extended(const struct injector *injector, void *buf, size_t room)
{
	(void)injector;
	(void)buf;
	(void)room;
	return -ENOSYS;
}

int injector_put_back(pid_t tid, const struct user_regs_struct *saved, uint64_t saved_mask,
		      const void *extended, size_t extended_bytes, struct snap_error *err)
{
	(void)tid;
	(void)saved;
	(void)saved_mask;
	(void)extended;
	(void)extended_bytes;
	return fail_machine(err);
}

#endif
