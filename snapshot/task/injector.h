/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_INJECTOR_H
#define SNAP_SNAPSHOT_TASK_INJECTOR_H

/*
 * Run system calls inside a stopped thread of somebody else: ptrace its registers onto the
 * `syscall` instruction of its vdso, let it enter and leave the call, read the result, put the
 * registers back. The thread executes no user code of its own meanwhile, and no byte of its memory
 * changes except by the calls. Signals that come meanwhile stay pending until it is let go.
 *
 * ptrace belongs to a thread: attach, calls and detach of one injector come from the same thread of
 * ours, and its end lets the other one go wherever it is.
 *
 * A tracer that is killed in the middle leaves the thread with foreign registers. Who must be able
 * to mend that notes them elsewhere first: note() is called before the first change, and
 * injector_put_back() does the mending from the note.
 *
 * x86-64 only; elsewhere every call fails with -ENOSYS.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "common/error.h"

struct injector;

/*
 * Before the registers of its thread are changed for the first time; saved and saved_mask are what
 * the thread must have back. Non-zero: leave it alone.
 */
typedef int (*injector_note_fn)(const struct injector *injector, void *arg);

struct injector {
	pid_t tid; /* 0: not attached */
	uint64_t syscall_at;
	struct user_regs_struct saved;
	bool changed; /* the thread's registers are not its own now */
	injector_note_fn note;
	void *note_arg;
	/*
	 * Its signal mask, valid when note() is called. While a signal waits for the end of the
	 * injection everything is blocked; else the mask is untouched.
	 */
	uint64_t saved_mask;
	bool mask_closed;
	bool running;	    /* resumed, and no stop seen since */
	bool in_call;	    /* between the entry and the exit of a call */
	bool group_stopped; /* at the last look */
};

struct injector_options {
	/* the thread's seccomp filters do not see our calls; needs CAP_SYS_ADMIN */
	bool suspend_seccomp;
	injector_note_fn note; /* NULL: none */
	void *note_arg;
	/* syscall_at of another injector in the same process, saves the search; 0: unknown */
	uint64_t syscall_at;
};

/* registers beyond the general ones (x87, SSE, AVX …): the largest that a CPU has, AMX included */
#define INJECTOR_EXTENDED_MAX 16384U

/*
 * Seize and stop thread tid (running, in group-stop, or in a system call); options may be NULL. Its
 * registers are readable in ret->saved from here on. -ESRCH: it is gone; -EPERM: not allowed, or
 * already traced; -ETIMEDOUT: not stopped within 10 s (state D): *ret is set then, and
 * injector_detach() lets it go when it has come out.
 */
int injector_attach(pid_t tid, const struct injector_options *options, struct injector *ret,
		    struct snap_error *err);

/*
 * The same; filters that the thread has are suspended where we may, else *ret_filtered: they will
 * see our calls, and may answer them with death.
 */
int injector_attach_past_filters(pid_t tid, const struct injector_options *options,
				 struct injector *ret, bool *ret_filtered, struct snap_error *err);

/*
 * One system call in the thread. 0 and *ret_value (negative errno of the call included; a call
 * that a signal broke off: -EINTR; one that a seccomp filter answered with a signal: -ENOSYS, and
 * the signal is dropped), or negative errno when the call could not be made: the thread
 * died (-ESRCH), the deadline of 10 s passed (-ETIMEDOUT, the thread takes no further call), no
 * `syscall` instruction was found (-ENOSYS), or note() refused. Not for calls with a restart block
 * of their own (nanosleep, poll, futex with a timeout): the thread may sleep in such a one.
 */
int injector_call(struct injector *injector, long number, const uint64_t args[6],
		  int64_t *ret_value, struct snap_error *err);

/*
 * Put the registers back and let go. A thread that was in group-stop is in group-stop again, one
 * that was in a system call goes on with it. Idempotent; 0, or negative errno when the thread is
 * gone.
 */
int injector_detach(struct injector *injector);

/*
 * The attached thread's extended registers as they are now; bytes, or -errno. Our calls leave them
 * alone; this is for who lets others run code in the thread and may have to take that back.
 */
ssize_t injector_read_extended(const struct injector *injector, void *buf, size_t room);

/*
 * After the death of another injector: the noted registers and signal mask back into tid; extended
 * registers too if extended_bytes is not 0. Works on a thread that is stopped; one that ran on with
 * foreign registers is lost, so stop the tree before an injection that must be mendable.
 */
int injector_put_back(pid_t tid, const struct user_regs_struct *saved, uint64_t saved_mask,
		      const void *extended, size_t extended_bytes, struct snap_error *err);

#endif
