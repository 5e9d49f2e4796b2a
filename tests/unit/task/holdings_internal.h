/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_UNIT_TASK_HOLDINGS_INTERNAL_H
#define SNAP_TESTS_UNIT_TASK_HOLDINGS_INTERNAL_H

/* The tables of kinds, one a file, and what their functions share. */

#include <stddef.h>
#include <sys/types.h>

#include "tests/unit/task/holdings.h"

extern const struct holding file_holdings[];
extern const struct holding device_holdings[];
extern const struct holding socket_holdings[];
extern const struct holding task_holdings[];
extern const size_t n_file_holdings;
extern const size_t n_device_holdings;
extern const size_t n_socket_holdings;
extern const size_t n_task_holdings;

/* 0, or -errno for -1: the descriptor stays open, holding it is the point */
int holding_kept(long fd);
int holding_open(const char *path, int flags);

/* fork(); the child dies with its parent */
pid_t holding_fork(void);
_Noreturn void holding_wait(void);

/* where files are made: $SNAP_HELD_DIR, or /tmp */
const char *holding_folder(void);
/* a path there of our own, with nothing at it */
void holding_path(char *buf, size_t size, const char *word);
/* a new file there, open; its path into buf of PATH_MAX bytes */
int holding_temporary(char *buf);

/* a socket pair, a TCP and a unix listener */
int holding_plain_sockets(void);

#define DUMPED(word)                               \
	{                                          \
		.name = #word, .hold = hold_##word \
	}
#define REFUSED(word, text)                                                                      \
	{                                                                                        \
		.name = #word, .hold = hold_##word, .criu = CRIU_REFUSES,                        \
		.criu_unprivileged = CRIU_REFUSES, .finding = text, .finding_unprivileged = text \
	}
/* dumped in setting A only */
#define PRIVILEGED(word, text)                                                         \
	{                                                                              \
		.name = #word, .hold = hold_##word, .criu_unprivileged = CRIU_REFUSES, \
		.finding_unprivileged = text                                           \
	}
#define PASSING(word, answer, answer_unprivileged, text)                   \
	{                                                                  \
		.name = #word, .hold = hold_##word, .criu = answer,        \
		.criu_unprivileged = answer_unprivileged, .finding = text, \
		.finding_unprivileged = text, .transient = true            \
	}
/* … and there not for ever */
#define PASSING_UNPRIVILEGED(word, text)                                               \
	{                                                                              \
		.name = #word, .hold = hold_##word, .criu_unprivileged = CRIU_REFUSES, \
		.finding_unprivileged = text, .transient = true                        \
	}
#define BEYOND(word, text, why)                                                                    \
	{                                                                                          \
		.name = #word, .hold = hold_##word, .finding = text, .finding_unprivileged = text, \
		.beyond = why                                                                      \
	}

#endif
