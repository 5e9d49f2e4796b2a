/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_UNIT_TASK_TRACES_H
#define SNAP_TESTS_UNIT_TASK_TRACES_H

/*
 * What work in a stopped process might leave behind: its mappings, descriptors, threads, their
 * registers, states and signals.
 */

#include <stdbool.h>
#include <sys/types.h>

struct traces;

struct traces *traces_take(pid_t pid);
void traces_free(struct traces *traces);
void traces_assert_equal(const struct traces *before, const struct traces *after);

/* until every thread is in group-stop; false after 10 s */
bool traces_wait_stopped(pid_t pid);

/* does this kernel give us an io_uring? else a test prints why and skips */
bool traces_can_ring(void);

#endif
