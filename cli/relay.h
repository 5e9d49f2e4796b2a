/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_RELAY_H
#define SNAP_CLI_RELAY_H

/*
 * What comes out of a container on its standard error: the engine's own words, passed on as they
 * come, and among them the JSON records of snapinit and snapworker, which we understand. Nobody
 * but the engine can forge such a record, and all it could spoil is its own result.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define RELAY_RECORD_MAX 4096 /* one write of common/log.h */

/* what snapinit and snapworker told that decides about a result */
struct relay_news {
	struct snap_error failure; /* code and text of the last failure told; SNAP_OK: none */
	bool captured;		   /* the generation is complete */
	uint64_t wake_ms;	   /* exec of snapinit to the engine's answer; 0: not told */
};

struct relay {
	int fd;						/* read end; closed at end of file */
	int out_fd;					/* where it goes; FD_NONE: nowhere */
	bool records;					/* pass records on too */
	bool as_text;					/* records as text */
	void (*on_event)(const char *event, void *arg); /* NULL: none */
	void *arg;
	struct relay_news news;
	char held[RELAY_RECORD_MAX]; /* may be a record that is not complete */
	size_t n_held;
};

/* *ret_write_end is the caller's: to be given away and closed */
int relay_open(struct relay *relay, int out_fd, int *ret_write_end, struct snap_error *err);

/* read what is there; 0, 1 at end of file, or -errno */
int relay_turn(struct relay *relay);

/* take bytes as if they were read; exposed for tests */
void relay_take(struct relay *relay, const char *bytes, size_t n);

/* pass on what is held and close; idempotent */
void relay_close(struct relay *relay);

#endif
