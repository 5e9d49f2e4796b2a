/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_PUMP_H
#define SNAP_INIT_PUMP_H

/*
 * Moves bytes one way between a pipe of ours and a descriptor that we inherited, and never
 * blocks.
 *
 * The inherited descriptor's open file belongs to others as well, so its flags and its offset
 * are left as they are: sockets get MSG_DONTWAIT, pipes and terminals are opened once more, and
 * regular files, which do not block, are read and written through the inherited descriptor. A
 * pipe of another user cannot be opened: it is spliced, at the price that each small write fills
 * one of its sixteen slots. Where none of that works, poll(2) is asked before a small step.
 *
 * While the sink is full the source is not watched at all: what flows too fast stays in the pipe
 * and stops its writer. When the sink is gone our end of the pipe is closed, and the engine sees
 * what it would have seen without us.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/loop.h"

enum pump_kind {
	PUMP_PIPE,
	PUMP_SOCKET,
	PUMP_TTY,
	PUMP_FILE,  /* never blocks: regular files, /dev/null; epoll refuses them */
	PUMP_OTHER, /* pollable, but nothing else is known */
};

#define PUMP_BUFFER 16384

struct pump {
	int pipe;	     /* our end, non-blocking, ours; FD_NONE: finished */
	int inherited;	     /* not ours */
	int reopened;	     /* inherited, opened once more; ours, or FD_NONE */
	bool outward;	     /* pipe to inherited, else inherited to pipe */
	enum pump_kind kind; /* of the inherited one */
	bool no_splice;	     /* it was refused once */
	uint64_t moved;	     /* bytes that reached the sink */
	uint64_t lost;	     /* bytes a regular file did not take (disk full) */
	uint64_t drain_at;   /* value of moved + lost at which the engine's last byte is out */
	struct loop *loop;   /* NULL: not started */
	struct loop_source source;
	struct loop_source sink;
	size_t used, at; /* outward: read, not yet written */
	char buf[PUMP_BUFFER];
};

enum pump_kind pump_kind_of(int fd);

/* pipe: our end, taken over; inherited stays the caller's */
void pump_init(struct pump *pump, bool outward, int pipe, int inherited);

/* closes our end and forgets what is buffered; idempotent */
void pump_done(struct pump *pump);

/* another pipe after the first was finished; keeps the rest */
void pump_set_pipe(struct pump *pump, int pipe);

/* begin to move; 0 or -errno (the pump is then finished) */
int pump_start(struct pump *pump, struct loop *loop);

/* nobody will write to the pipe any more: remember how much is left */
void pump_mark_end(struct pump *pump);

/* all that was left at pump_mark_end() is out, or can never get out */
bool pump_is_drained(const struct pump *pump);

#endif
