/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_GPU_PROBE_WALK_H
#define SNAP_TESTS_GPU_PROBE_WALK_H

/* The driver's checkpoint calls on one process, each with its code and its time. */

#include <stdbool.h>
#include <sys/types.h>

enum walk_call {
	WALK_LOCK,
	WALK_CHECKPOINT,
	WALK_RESTORE,
	WALK_UNLOCK,
	WALK_CALLS
};

struct walk {
	int codes[WALK_CALLS];
	double ms[WALK_CALLS];
};

const char *walk_name(enum walk_call call);
double walk_now_ms(void);

/* the driver's code; lock waits timeout_ms, 0 for ever */
int walk_do(pid_t pid, enum walk_call call, unsigned timeout_ms, double *ret_ms);
/* -1 where the driver does not say */
int walk_state(pid_t pid);
bool walk_is_cuda(pid_t pid);

/* from call first to call last; stops at the first that fails, whose followers are -1 */
bool walk_through(pid_t pid, enum walk_call first, enum walk_call last, struct walk *walk);
/* codes that are not 0, and all times that there are, into the open row */
void walk_put(const struct walk *walk);

#endif
