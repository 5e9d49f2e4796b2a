/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_PROGRESS_H
#define SNAP_CLI_PROGRESS_H

/*
 * How far a work is that goes through many bytes: one line on a terminal that is written over, and
 * gone at the end. Where standard error is no terminal, or is one without cursor, or progress is
 * not wanted, nothing is written. One work at a time.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/output.h"

/* bytes that are done by now, or -errno when that is not known */
typedef int64_t (*progress_fn)(void *arg);

/*
 * From now on a thread asks `done` a few times a second, until progress_stop(); it asks from its
 * own thread. total 0: not known. `what` and arg are borrowed.
 */
void progress_start(const char *what, uint64_t total, progress_fn done, void *arg);
void progress_stop(void); /* idempotent */

/* for who writes to the terminal: no line of ours is there in between */
void progress_pause(void);
void progress_resume(void);

/* bytes that this process has read since progress_from_reads() filled arg, a struct progress_reads
 */
struct progress_reads {
	uint64_t before;
};

void progress_from_reads(struct progress_reads *reads);
int64_t progress_reads(void *arg);

/* bytes in the files of a generation that is being made; arg: a struct progress_growth */
struct progress_growth {
	int store_fd;
	const char *generation;
};

int64_t progress_growth(void *arg);

/*
 * Work that tells by itself how far it is, as an archive_talk's progress: begins with the first
 * word. arg: a struct progress_told with `what` set, which stays until progress_stop().
 */
struct progress_told {
	const char *what;
	bool began;
	atomic_llong done;
};

void progress_tell(void *arg, uint64_t done, uint64_t total);

/* "verify: 1.2 GiB of 4.0 GiB (30 %), 800.0 MiB/s, 3 s left"; exposed for tests */
#define PROGRESS_TEXT_MAX 160
void progress_format(const char *what, uint64_t done, uint64_t total, uint64_t elapsed_ns,
		     char buf[PROGRESS_TEXT_MAX]);

#endif
