/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_WORKER_TALK_H
#define SNAP_WORKER_TALK_H

/* The worker's side of the talk with PID 1 (common/worker_proto.h). */

#include <stdint.h>
#include <sys/types.h>

#include "common/worker_proto.h"

/* send one message; a PID 1 that is gone stops the job, it has no business without it */
void talk_send(enum worker_msg_type type, enum snap_code code, pid_t pid, uint64_t value,
	       const char *text);

/* send and wait for the answer of type `answer`; 0, -ETIMEDOUT, -EPIPE, -EPROTO */
int talk_ask(enum worker_msg_type type, pid_t pid, uint64_t value, enum worker_msg_type answer,
	     uint64_t deadline_ns, struct snap_error *err);

/* hand descriptors to PID 1 and wait until it has them */
int talk_keep(const int kept[WORKER_KEPT_MAX_], uint64_t deadline_ns, struct snap_error *err);

/* what an earlier worker has handed over so: FD_NONE each where it has not */
void talk_kept_fds(int ret[WORKER_KEPT_MAX_]);

/* the journal that PID 1 has lent us, or FD_NONE */
int talk_journal_fd(void);

/* wait for a message that PID 1 sends by itself */
int talk_wait(enum worker_msg_type type, uint64_t deadline_ns, struct snap_error *err);

#endif
