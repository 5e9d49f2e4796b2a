/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_STEPS_H
#define SNAP_SNAPSHOT_STEPS_H

/*
 * A long procedure as a table: each step has a name for logs and budgets, and an undo. One small
 * loop runs it; a failure walks back over what was done, newest first. Builds with fault points
 * (Debug) obey SNAPINIT_FAULT=TABLE.STEP=fail|kill|hang, so that tests reach every step, and points
 * within steps.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define STEPS_MAX 24

struct step {
	const char *name;
	int (*run)(void *context, struct snap_error *err); /* 0, or anything else to stop */
	void (*undo)(void *context);			   /* NULL: nothing to take back */
};

struct step_times {
	const char *names[STEPS_MAX];
	uint64_t dur_ns[STEPS_MAX];
	size_t n; /* steps begun */
};

/*
 * Ask a running procedure to give up: it stops before its next step, or at its next look, and is
 * undone. For a signal handler.
 */
void steps_stop(void);
bool steps_stopped(void);

/* 0 when all ran; else what the failing step returned, with its name in front of err's text */
int steps_run(const char *table, const struct step *steps, size_t n, void *context,
	      struct step_times *times, struct snap_error *err);

/*
 * A point within a step, in whatever code the running table has come to: SNAPINIT_FAULT may name it
 * as it names a step. 0, or what the step is to fail with; err may be NULL. Always 0 without fault
 * points, and outside of steps_run().
 */
int steps_fault(const char *point, struct snap_error *err);

#endif
