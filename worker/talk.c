/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/talk.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/steps.h"

static uint32_t last_id;

void talk_send(enum worker_msg_type type, enum snap_code code, pid_t pid, uint64_t value,
	       const char *text)
{
	struct worker_msg msg = {
		.type = type, .id = ++last_id, .code = code, .pid = pid, .value = value};

	(void)snprintf(msg.text, sizeof(msg.text), "%s", text ? text : "");
	if (worker_msg_send(WORKER_FD_SOCKET, &msg, 0) < 0)
		steps_stop();
}

int talk_wait(enum worker_msg_type type, uint64_t deadline_ns, struct snap_error *err)
{
	for (;;) {
		struct pollfd pfd = {.fd = WORKER_FD_SOCKET, .events = POLLIN};
		struct worker_msg msg;
		int r = poll(&pfd, 1, deadline_left_ms(deadline_ns));

		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0)
			return snap_fail_plain(err, SNAP_E_NOT_READY, ETIMEDOUT,
					       "no '%s' from PID 1 before the deadline",
					       worker_msg_name(type));
		r = worker_msg_recv(WORKER_FD_SOCKET, &msg, MSG_DONTWAIT);
		if (r == 1)
			return snap_fail_plain(err, SNAP_E_INTERNAL, EPIPE, "PID 1 has gone");
		if (r < 0 && r != -EAGAIN)
			return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot hear PID 1");
		if (r == 0 && msg.type == type)
			return 0;
	}
}

int talk_ask(enum worker_msg_type type, pid_t pid, uint64_t value, enum worker_msg_type answer,
	     uint64_t deadline_ns, struct snap_error *err)
{
	talk_send(type, SNAP_OK, pid, value, NULL);
	return talk_wait(answer, deadline_ns, err);
}

int talk_keep(const int kept[WORKER_KEPT_MAX_], uint64_t deadline_ns, struct snap_error *err)
{
	struct worker_msg msg = {.type = WORKER_MSG_KEEP, .id = ++last_id};
	int r = worker_msg_send_kept(WORKER_FD_SOCKET, &msg, kept);

	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot hand the page files to PID 1");
	return talk_wait(WORKER_MSG_KEPT, deadline_ns, err);
}

void talk_kept_fds(int ret[WORKER_KEPT_MAX_])
{
	for (int i = 0; i < WORKER_KEPT_MAX_; i++)
		ret[i] = fcntl(WORKER_FD_KEPT + i, F_GETFD) < 0 ? FD_NONE : WORKER_FD_KEPT + i;
}

int talk_journal_fd(void)
{
	return fcntl(WORKER_FD_JOURNAL, F_GETFD) < 0 ? FD_NONE : WORKER_FD_JOURNAL;
}
