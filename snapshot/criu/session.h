/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CRIU_SESSION_H
#define SNAP_SNAPSHOT_CRIU_SESSION_H

/*
 * One `criu swrk` process and the talk with it: protobuf packets over a SEQPACKET pair. A session
 * serves one dump or one restore; it is started early and waits. It dies with us
 * (PR_SET_PDEATHSIG) and every wait has a deadline, because a failing restorer can hang CRIU for
 * ever. CRIU's log goes to a memfd of ours, so that no work folder is needed for it.
 *
 * Generated protobuf types do not leave session.c.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/pidref.h"
#include "snapshot/criu/program.h"

struct criu_session {
	int sock;
	int log_fd;	/* memfd, readable when CRIU failed */
	int runtime_fd; /* what is opened here is CRIU's XDG_RUNTIME_DIR */
	struct pidref process;
	bool answered;	  /* the final response came: what CRIU held is let go or dumped */
	char version[32]; /* "4.2.1", set by criu_session_version() */
};

#define CRIU_SESSION_NONE                             \
	((struct criu_session){.sock = FD_NONE,       \
			       .log_fd = FD_NONE,     \
			       .runtime_fd = FD_NONE, \
			       .process = PIDREF_NONE})

#define CRIU_INHERIT_MAX 3

struct criu_inherit {
	const char *key; /* "pipe:[4711]" as dumped */
	int fd;		 /* ours; CRIU gets it under the same number */
};

struct criu_start {
	int inherit[CRIU_INHERIT_MAX];
	unsigned int n_inherit;
	/*
	 * Our death does not end it: at its next word to us it finds nobody and takes itself out of
	 * the tree in good order. Killed in mid-dump it would leave threads at a trap, of which the
	 * kernel makes a deadly signal.
	 */
	bool outlives_us;
};

struct criu_options {
	int images_fd;
	int work_fd; /* -1: the images folder */
	bool unprivileged;
	bool net_admin; /* we may use TCP repair */
	int log_level;	/* CRIU's 1..4 */
	uint64_t deadline_ns;
	/* dump */
	pid_t pid;
	bool leave_running;
	/* restore */
	struct criu_inherit inherit[CRIU_INHERIT_MAX];
	unsigned int n_inherit;
};

/* called at each of CRIU's notifications; non-zero makes CRIU give up (dump: the tree runs on) */
typedef int (*criu_notify_fn)(const char *script, pid_t pid, void *arg);

/* start swrk; it waits for a request */
int criu_session_open(const struct criu_program *program, const struct criu_start *start,
		      struct criu_session *ret, struct snap_error *err);

/* before a request: the kernel-feature cache that lies in the folder dir_fd; FD_NONE: none */
void criu_session_use_cache(struct criu_session *session, int dir_fd);

/* kill what still runs, reap it, close; idempotent */
void criu_session_close(struct criu_session *session);

/* ask for the version without waiting for the answer; CRIU may still be starting */
int criu_session_ask_version(struct criu_session *session, struct snap_error *err);

/* wait for the answer and set session->version; the session stays usable */
int criu_session_version(struct criu_session *session, uint64_t deadline_ns,
			 struct snap_error *err);

/* SNAP_E_DUMP with CRIU's own words; 0 when all images are written */
int criu_session_dump(struct criu_session *session, const struct criu_options *options,
		      criu_notify_fn notify, void *arg, struct snap_error *err);

/*
 * Restore and leave every task in group-stop. On success *ret_pid is the root (in our pid
 * namespace) and the swrk process has ended, so the root has a new parent.
 */
int criu_session_restore(struct criu_session *session, const struct criu_options *options,
			 criu_notify_fn notify, void *arg, pid_t *ret_pid, struct snap_error *err);

#endif
