/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_LOOP_H
#define SNAP_COMMON_LOOP_H

/*
 * PID 1's event loop: level-triggered epoll, sources embedded in their owners, run in order of
 * priority within one turn. A source removed inside a callback is not called any more. Nothing is
 * allocated.
 */

#include <stdint.h>

#define LOOP_SOURCES_MAX 32

struct loop_source;

/* 0, or -errno to end loop_run_once with it */
typedef int (*loop_fn)(struct loop_source *source, uint32_t events);

struct loop {
	int epoll_fd;
	struct loop_source *ready[LOOP_SOURCES_MAX]; /* of this turn; NULL once removed */
	unsigned int n_ready;
};

struct loop_source {
	struct loop *loop; /* NULL: not added */
	loop_fn fn;
	void *owner;
	int fd;	      /* stays the owner's */
	int priority; /* smaller runs first within one turn */
	uint32_t ready_events;
};

int loop_init(struct loop *loop);
void loop_done(struct loop *loop);
int loop_add(struct loop *loop, struct loop_source *source, int fd, uint32_t events, int priority,
	     loop_fn fn, void *owner);
int loop_change(struct loop_source *source, uint32_t events);

/* idempotent; call before closing fd */
void loop_remove(struct loop_source *source);

/* wait for events (timeout_ms -1: for ever) and run them; callbacks run, or -errno */
int loop_run_once(struct loop *loop, int timeout_ms);

#endif
