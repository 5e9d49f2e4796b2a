/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_PROCESS_H
#define SNAP_COMMON_PROCESS_H

/*
 * Start a program. The child gets exactly the descriptors named, a clean signal state, and its
 * failure to exec comes back as an errno through a close-on-exec pipe.
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/pidref.h"

#define PROCESS_FDS_MAX 16

struct process_fd {
	int from; /* ours; stays open here */
	int to;	  /* number in the child */
};

struct process_spec {
	const char *path; /* NULL: argv[0] through PATH of this process */
	char *const *argv;
	char *const *envp; /* NULL: our own */
	const struct process_fd *fds;
	unsigned int n_fds;
	bool close_fds; /* close every other descriptor >= 3 in the child */
	pid_t pid;	/* wanted pid, needs CHECKPOINT_RESTORE; 0: any */
	bool new_session;
	bool new_group;
	bool foreground;	 /* with new_group: make it the terminal's foreground group */
	bool controlling;	 /* with new_session: its terminal, if there is one at 0 */
	int death_signal;	 /* PR_SET_PDEATHSIG, 0: none */
	const sigset_t *mask;	 /* signal mask of the child; NULL: empty */
	const sigset_t *ignored; /* signals left ignored in the child; NULL: all default */
	/*
	 * Runs in the child just before exec; 0 or -errno. The child may share our memory, and we
	 * wait for it meanwhile: what it writes, the environment too, is written for us as well.
	 */
	int (*prepare)(void *arg);
	void *prepare_arg;
};

/* outcome of process_spawn(): the program could not be executed; err->errnum says why */
#define PROCESS_EXEC_FAILED 1

/*
 * 0: runs, *ret is set and owned by the caller (reap it with waitid). PROCESS_EXEC_FAILED: the
 * child is already reaped. Negative errno: no child was made.
 */
int process_spawn(const struct process_spec *spec, struct pidref *ret, struct snap_error *err);

/*
 * Wait for an own child until the deadline. 0 and *ret_status (as waitpid gives it), -ETIMEDOUT,
 * or -errno. For callers without a loop (worker, snapctl, tests).
 */
int process_wait(const struct pidref *ref, uint64_t deadline_ns, int *ret_status);

#endif
