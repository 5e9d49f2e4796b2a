/* SPDX-License-Identifier: Apache-2.0 */
#include "common/worker_proto.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static const char *const msg_names[] = {
	[WORKER_MSG_NONE] = "none",	  [WORKER_MSG_BUDGET] = "budget",
	[WORKER_MSG_REFUSED] = "refused", [WORKER_MSG_RESTORED] = "restored",
	[WORKER_MSG_READY] = "ready",	  [WORKER_MSG_FREEZE] = "freeze",
	[WORKER_MSG_THAWED] = "thawed",	  [WORKER_MSG_DONE] = "done",
	[WORKER_MSG_FAILED] = "failed",	  [WORKER_MSG_RESUME] = "resume",
	[WORKER_MSG_GO] = "go",		  [WORKER_MSG_ENGINE_SAYS_READY] = "engine-says-ready",
};

_Static_assert(sizeof(msg_names) / sizeof(msg_names[0]) == WORKER_MSG_MAX_, "one name a message");

int worker_msg_send(int fd, struct worker_msg *msg, int flags)
{
	ssize_t n;

	msg->version = WORKER_PROTO_VERSION;
	do
		n = send(fd, msg, sizeof(*msg), flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*msg) ? 0 : -EPROTO;
}

int worker_msg_recv(int fd, struct worker_msg *ret, int flags)
{
	ssize_t n;

	/*
	 * ECONNRESET: the other side has closed its end with something of ours unread. The kernel
	 * says so once, before what they had sent until then.
	 */
	do
		n = recv(fd, ret, sizeof(*ret), flags | MSG_TRUNC);
	while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (n == 0)
		return 1;
	if (n != (ssize_t)sizeof(*ret) || ret->version != WORKER_PROTO_VERSION ||
	    ret->type == WORKER_MSG_NONE || ret->type >= WORKER_MSG_MAX_ ||
	    !memchr(ret->text, '\0', sizeof(ret->text)))
		return -EPROTO;
	return 0;
}

const char *worker_msg_name(uint32_t type)
{
	return type < WORKER_MSG_MAX_ ? msg_names[type] : "unknown";
}
