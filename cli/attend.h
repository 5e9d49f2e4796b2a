/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_ATTEND_H
#define SNAP_CLI_ATTEND_H

/*
 * Being the parent of a container: its signals are ours to pass on, its output ours to relay, its
 * end ours to tell.
 */

#include <signal.h>
#include <stdint.h>

#include "cli/relay.h"
#include "common/error.h"
#include "common/pidref.h"

struct attend {
	int signal_fd;
	sigset_t old_mask; /* as it was before, for PID 1 */
	int ended_by;	   /* last TERM, INT, HUP or QUIT that we passed on; 0: none */
};

/* from here on the forwarded signals wait for attend_wait() */
int attend_begin(struct attend *attend, struct snap_error *err);
void attend_end(struct attend *attend);

/*
 * Until PID 1 has ended. relay may be NULL. At the deadline the container is killed and -ETIMEDOUT
 * returned with *ret_status set; else 0 and *ret_status: its exit status, or 128 + n for signal n.
 */
int attend_wait(struct attend *attend, const struct pidref *init, struct relay *relay,
		uint64_t deadline_ns, int *ret_status);

#endif
