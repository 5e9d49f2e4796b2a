/* SPDX-License-Identifier: Apache-2.0 */
#include "common/worker_proto.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "common/fd.h"

static const char *const msg_names[] = {
	[WORKER_MSG_NONE] = "none",
	[WORKER_MSG_BUDGET] = "budget",
	[WORKER_MSG_REFUSED] = "refused",
	[WORKER_MSG_RESTORED] = "restored",
	[WORKER_MSG_READY] = "ready",
	[WORKER_MSG_FREEZE] = "freeze",
	[WORKER_MSG_KEEP] = "keep",
	[WORKER_MSG_KEPT] = "kept",
	[WORKER_MSG_THAWED] = "thawed",
	[WORKER_MSG_DONE] = "done",
	[WORKER_MSG_FAILED] = "failed",
	[WORKER_MSG_RESUME] = "resume",
	[WORKER_MSG_GO] = "go",
	[WORKER_MSG_GPU] = "gpu",
	[WORKER_MSG_ENGINE_SAYS_READY] = "engine-says-ready",
};

_Static_assert(sizeof(msg_names) / sizeof(msg_names[0]) == WORKER_MSG_MAX_, "one name a message");

union kept_control {
	struct cmsghdr head; /* aligns it */
	char bytes[CMSG_SPACE(WORKER_KEPT_MAX_ * sizeof(int))];
};

static int send_packet(int fd, struct worker_msg *msg, int flags, union kept_control *control)
{
	struct iovec part = {msg, sizeof(*msg)};
	struct msghdr packet = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = control ? sizeof(control->bytes) : 0,
	};
	ssize_t n;

	msg->version = WORKER_PROTO_VERSION;
	do
		n = sendmsg(fd, &packet, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == (ssize_t)sizeof(*msg) ? 0 : -EPROTO;
}

int worker_msg_send(int fd, struct worker_msg *msg, int flags)
{
	return send_packet(fd, msg, flags, NULL);
}

int worker_msg_send_kept(int fd, struct worker_msg *msg, const int kept[WORKER_KEPT_MAX_])
{
	const size_t size = WORKER_KEPT_MAX_ * sizeof(int);
	union kept_control control = {.head = {.cmsg_level = SOL_SOCKET,
					       .cmsg_type = SCM_RIGHTS,
					       .cmsg_len = CMSG_LEN(size)}};

	memcpy(CMSG_DATA(&control.head), kept, size);
	return send_packet(fd, msg, 0, &control);
}

static bool is_message(const struct worker_msg *msg, ssize_t size)
{
	return size == (ssize_t)sizeof(*msg) && msg->version == WORKER_PROTO_VERSION &&
	       msg->type != WORKER_MSG_NONE && msg->type < WORKER_MSG_MAX_ &&
	       memchr(msg->text, '\0', sizeof(msg->text));
}

/* the first `max` are given, the rest is closed; how many there were */
static size_t take_descriptors(struct msghdr *packet, int *ret, size_t max)
{
	size_t n = 0;

	for (struct cmsghdr *head = CMSG_FIRSTHDR(packet); head; head = CMSG_NXTHDR(packet, head)) {
		size_t here;

		if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS)
			continue;
		here = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < here; i++, n++) {
			int fd;

			memcpy(&fd, CMSG_DATA(head) + i * sizeof(int), sizeof(fd));
			if (n < max)
				ret[n] = fd;
			else
				(void)fd_close(fd);
		}
	}
	return n;
}

/* kept NULL: what comes beside the message is the kernel's to drop */
static int recv_packet(int fd, struct worker_msg *ret, int flags, int *kept)
{
	union kept_control control;
	struct iovec part = {ret, sizeof(*ret)};
	struct msghdr packet;
	size_t found = 0;
	ssize_t n;
	int r;

	/*
	 * ECONNRESET: the other side has closed its end with something of ours unread. The kernel
	 * says so once, before what they had sent until then.
	 */
	do {
		packet = (struct msghdr){
			.msg_iov = &part,
			.msg_iovlen = 1,
			.msg_control = kept ? &control : NULL,
			.msg_controllen = kept ? sizeof(control.bytes) : 0,
		};
		n = recvmsg(fd, &packet, flags | MSG_TRUNC | MSG_CMSG_CLOEXEC);
	} while (n < 0 && (errno == EINTR || errno == ECONNRESET));
	if (n < 0)
		return -errno;
	if (n == 0)
		return 1;
	if (kept)
		found = take_descriptors(&packet, kept, WORKER_KEPT_MAX_);
	r = is_message(ret, n) ? 0 : -EPROTO;
	if (r == 0 && kept && found != (ret->type == WORKER_MSG_KEEP ? WORKER_KEPT_MAX_ : 0))
		r = -EPROTO;
	for (size_t i = 0; kept && i < WORKER_KEPT_MAX_; i++) {
		if (i < found && r < 0)
			(void)fd_close(kept[i]);
		if (i >= found || r < 0)
			kept[i] = FD_NONE;
	}
	return r;
}

int worker_msg_recv(int fd, struct worker_msg *ret, int flags)
{
	return recv_packet(fd, ret, flags, NULL);
}

int worker_msg_recv_kept(int fd, struct worker_msg *ret, int flags, int ret_kept[WORKER_KEPT_MAX_])
{
	for (int i = 0; i < WORKER_KEPT_MAX_; i++)
		ret_kept[i] = FD_NONE;
	return recv_packet(fd, ret, flags, ret_kept);
}

const char *worker_msg_name(uint32_t type)
{
	return type < WORKER_MSG_MAX_ ? msg_names[type] : "unknown";
}
