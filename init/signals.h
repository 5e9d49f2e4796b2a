/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_SIGNALS_H
#define SNAP_INIT_SIGNALS_H

/*
 * Every signal that can be caught is blocked and read from one descriptor, so that nothing ever
 * interrupts PID 1. What the parent had blocked or ignored is remembered and given to the engine.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct signals {
	int fd;		  /* signalfd, non-blocking */
	sigset_t mask;	  /* inherited: blocked */
	sigset_t ignored; /* inherited: ignored */
};

/*
 * 0 or -errno; nothing to undo on failure. job_control: also read TTIN and TTOU, which are ignored
 * otherwise.
 */
int signals_init(struct signals *signals, bool job_control);
void signals_done(struct signals *signals);

/*
 * The next signal that is for someone: its number, SIGCHLD for dead children, 0 when there is
 * none left, or -errno. Signals that we caused ourselves (SIGPIPE by writing) are left out.
 */
int signals_next(struct signals *signals);

/* a set of held signals; a second one of the same number is merged, as the kernel does */
struct held_signals {
	uint64_t bits;
};

void held_signals_add(struct held_signals *held, int sig);
bool held_signals_has(const struct held_signals *held, int sig);

/* lowest held signal, taken out; 0 when empty */
int held_signals_take(struct held_signals *held);

/* "TERM", "RTMIN+3"; buf is used where there is no fixed name */
const char *signal_name(int sig, char *buf, unsigned long size);

#endif
