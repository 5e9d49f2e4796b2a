/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_WORKER_H
#define SNAP_INIT_WORKER_H

/*
 * snapworker as PID 1 sees it: a process that does one job, talks over a socket and may die at
 * any moment. At most one is active; a retired one has said its last word and is given a moment
 * to exit by itself.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/init_options.h"
#include "common/loop.h"
#include "common/pidref.h"
#include "common/worker_proto.h"

enum worker_job {
	WORKER_WAKE,
	WORKER_CAPTURE,
	WORKER_WATCH,
	WORKER_PROBE,
	WORKER_RECOVER,
	WORKER_SUSPEND,
};

/* a capture that begins with the engine's boot, or while it lasts */
#define WORKER_TIMES_COLD_BOOT UINT64_MAX

struct worker {
	const struct init_options *options;
	char path[PATH_MAX];
	char **argv; /* room for the longest command line, made once */
	char pid_text[16];
	char timeout_text[32];
	char dump_text[32];
	char cold_boot_text[32];

	uint64_t cold_boot_ms; /* for the next capture; 0: not known */
	uint64_t suspend_ms;   /* that the next suspend has */
	const char *log_level; /* for the next one; NULL: as the options say */

	struct pidref ref; /* active or retired; PIDREF_NONE: none */
	int journal_fd;	   /* of PID 1, lent to the next one; FD_NONE: none */
	const int *kept;   /* descriptors of PID 1 for a recover; NULL: none */
	int fd;		   /* our end of its socket; FD_NONE: none, or nothing more to hear */
	uint64_t since;	   /* start tick: what is older is not its child */
	bool retired;
	uint64_t kill_at;	   /* retired: then */
	struct loop_source source; /* fd, watched by the owner */
};

/* finds the program and makes room; 0 or -errno */
int worker_init(struct worker *worker, const struct init_options *options, struct snap_error *err);
void worker_done(struct worker *worker);

/*
 * Start a job. root: pid of the tree, for all but wake. pipes: the engine's three pipe ends for a
 * wake; for a capture, descriptors that name its pipes; else NULL. A worker that is still there is
 * killed first. 0 or -errno, then nothing was started.
 */
int worker_start(struct worker *worker, enum worker_job job, pid_t root, const int *pipes,
		 struct snap_error *err);

static inline bool worker_is_active(const struct worker *worker)
{
	return pidref_is_set(&worker->ref) && !worker->retired;
}

/* 0 or -errno; never blocks */
int worker_send(struct worker *worker, enum worker_msg_type type, uint32_t id);

/* as worker_msg_recv_kept(), never blocking */
int worker_recv(struct worker *worker, struct worker_msg *ret, int ret_kept[WORKER_KEPT_MAX_]);

/* stop listening */
void worker_hang_up(struct worker *worker);

/* its last word is said: hang up, and KILL after the time given unless it exits */
void worker_retire(struct worker *worker, uint64_t timeout_ms);

/* ask it to take back what it has half made and to end; KILL when timeout_ms has passed */
void worker_dismiss(struct worker *worker, uint64_t timeout_ms);

/* KILL; it still has to be reaped */
void worker_kill(struct worker *worker);

/* it was reaped */
void worker_forget(struct worker *worker);

/* the command line of a job, in worker->argv; exposed for tests */
void worker_make_argv(struct worker *worker, enum worker_job job, pid_t root);

#endif
