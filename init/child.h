/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_CHILD_H
#define SNAP_INIT_CHILD_H

/*
 * The engine's cold boot.
 *
 * Plain mode does what a small init does: own process group, foreground on a terminal, stdio and
 * all other descriptors as they came. An engine that may be captured gets an own session, three
 * pipes, nothing else, and a pid from pid_base on, because at a wake its pids must be free again.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/process.h"
#include "init/environment.h"
#include "init/signals.h"

struct child_plan {
	char *const *argv;
	char *const *envp; /* NULL: our own */
	const struct signals *signals;
	int closed_stdio; /* plain: mask of descriptors 0-2 that were closed before us */
	bool own_session; /* plain: a session instead of a foreground group, with the terminal */
	bool contained;	  /* own session and descriptors instead of plain mode */
	pid_t pid_base;	  /* contained: first pid wanted, 0: any */
	const struct process_fd *fds; /* contained */
	unsigned int n_fds;
	struct environment *environment; /* of envp: the child tells it its pid; NULL: none */
};

/*
 * 0 and *ret; a positive exit status (126, 127) when the command cannot be executed; negative
 * errno when we failed. err tells.
 */
int child_boot(const struct child_plan *plan, struct pidref *ret, struct snap_error *err);

/* 128 + n, or the status itself; for what waitpid gave */
int child_exit_status(int wait_status);

/*
 * Make `base` the next pid this pid namespace gives out. 0, or -errno where neither
 * ns_last_pid nor using up pids gets there.
 */
int child_move_pid_cursor(pid_t base);

#endif
