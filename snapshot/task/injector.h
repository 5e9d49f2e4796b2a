/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_INJECTOR_H
#define SNAP_SNAPSHOT_TASK_INJECTOR_H

/*
 * Run system calls inside a stopped thread of somebody else: ptrace its registers onto the
 * `syscall` instruction of its vdso, step, read the result, put the registers back. The thread
 * executes no user code of its own meanwhile, and no byte of its memory changes.
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

/* before the registers of tid are changed for the first time; non-zero: leave it alone */
typedef int (*injector_note_fn)(pid_t tid, const struct user_regs_struct *saved, void *arg);

struct injector {
	pid_t tid; /* 0: not attached */
	uint64_t syscall_at;
	struct user_regs_struct saved;
	bool changed; /* the thread's registers are not its own now */
	injector_note_fn note;
	void *note_arg;
};

struct injector_options {
	/* the thread's seccomp filters do not see our calls; needs CAP_SYS_ADMIN */
	bool suspend_seccomp;
	injector_note_fn note; /* NULL: none */
	void *note_arg;
};

/*
 * Seize and stop thread tid (running, in group-stop, or in a system call). Its registers are
 * readable in ret->saved from here on. -ESRCH: it is gone; -EPERM: not allowed, or already traced.
 */
int injector_attach(pid_t tid, const struct injector_options *options, struct injector *ret,
		    struct snap_error *err);

/*
 * One system call in the thread. 0 and *ret_value (negative errno of the call included), or
 * negative errno when the call could not be made: the thread died, or the deadline of 10 s passed.
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
 * After the death of another injector: the noted registers back into tid. Works on a thread that
 * is stopped or running (a single step of the dead one makes it die of SIGTRAP when it runs: stop
 * the tree before).
 */
int injector_put_back(pid_t tid, const struct user_regs_struct *saved, struct snap_error *err);

#endif
