/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/sockdiag.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/fd.h"

#define ANSWER_MAX 65536 /* the kernel fills at most 32 KiB */

/* one answer, its fixed part of `size` bytes checked */
typedef int (*answer_fn)(const struct nlmsghdr *message, const struct rtattr *attributes,
			 int attributes_len, void *arg);

struct query {
	const void *request; /* begins with struct nlmsghdr */
	size_t request_size;
	size_t fixed_size; /* of an answer's payload before the attributes */
	answer_fn fn;
	void *arg;
};

static int take_message(const struct query *query, const struct nlmsghdr *message, bool *ret_end)
{
	const char *payload = (const char *)message + NLMSG_HDRLEN;
	size_t len = message->nlmsg_len - NLMSG_HDRLEN;

	if (message->nlmsg_type == NLMSG_DONE) {
		*ret_end = true;
		return 0;
	}
	if (message->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *error = (const struct nlmsgerr *)(const void *)payload;

		if (len < sizeof(error->error))
			return -EPROTO;
		*ret_end = true;
		return error->error;
	}
	if (message->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return 0;
	if (len < NLMSG_ALIGN(query->fixed_size))
		return -EPROTO;
	return query->fn(
		message,
		(const struct rtattr *)(const void *)(payload + NLMSG_ALIGN(query->fixed_size)),
		(int)(len - NLMSG_ALIGN(query->fixed_size)), query->arg);
}

static int take_answer(const struct query *query, const char *buf, size_t size, bool *ret_end)
{
	while (size >= NLMSG_HDRLEN) {
		const struct nlmsghdr *message = (const struct nlmsghdr *)(const void *)buf;
		size_t step;
		int r;

		if (message->nlmsg_len < NLMSG_HDRLEN || message->nlmsg_len > size)
			return -EPROTO;
		r = take_message(query, message, ret_end);
		if (r != 0 || *ret_end)
			return r;
		step = NLMSG_ALIGN(message->nlmsg_len);
		if (step >= size)
			break;
		buf += step;
		size -= step;
	}
	return 0;
}

static int run(const struct query *query)
{
	snap_cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	char buf[ANSWER_MAX] __attribute__((aligned(8)));
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	bool end = false;

	if (fd < 0)
		return -errno;
	if (sendto(fd, query->request, query->request_size, 0, (struct sockaddr *)&kernel,
		   sizeof(kernel)) < 0)
		return -errno;
	while (!end) {
		ssize_t n = recv(fd, buf, sizeof(buf), MSG_TRUNC);
		int r;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || (size_t)n > sizeof(buf))
			return -EPROTO;
		r = take_answer(query, buf, (size_t)n, &end);
		if (r != 0)
			return r;
	}
	return 0;
}

struct unix_walk {
	sockdiag_unix_fn fn;
	void *arg;
};

static void take_name(struct sockdiag_unix *socket, const char *name, size_t len)
{
	if (len > sizeof(socket->name) - 1)
		len = sizeof(socket->name) - 1;
	memcpy(socket->name, name, len);
	socket->name[len] = '\0';
	for (size_t i = 0; i < len && name[0] == '\0'; i++) {
		if (socket->name[i] == '\0')
			socket->name[i] = '@';
	}
}

/* RTA_NEXT(), which casts const away */
static const struct rtattr *next_attr(const struct rtattr *attr, int *len)
{
	size_t size = RTA_ALIGN(attr->rta_len);

	*len -= (int)size;
	return (const struct rtattr *)((const char *)attr + size);
}

static int take_unix(const struct nlmsghdr *message, const struct rtattr *attr, int len, void *arg)
{
	const struct unix_diag_msg *head =
		(const struct unix_diag_msg *)((const char *)message + NLMSG_HDRLEN);
	struct unix_walk *walk = arg;
	struct sockdiag_unix socket = {.inode = head->udiag_ino, .type = head->udiag_type};

	for (; RTA_OK(attr, len); attr = next_attr(attr, &len)) {
		const void *data = (const char *)attr + RTA_LENGTH(0);
		size_t size = RTA_PAYLOAD(attr);

		if (attr->rta_type == UNIX_DIAG_PEER && size >= sizeof(socket.peer))
			memcpy(&socket.peer, data, sizeof(socket.peer));
		else if (attr->rta_type == UNIX_DIAG_NAME)
			take_name(&socket, data, size);
		else if (attr->rta_type == UNIX_DIAG_ICONS) {
			socket.waiting = data;
			socket.n_waiting = size / sizeof(uint32_t);
		}
	}
	return walk->fn(&socket, walk->arg);
}

int sockdiag_each_unix(sockdiag_unix_fn fn, void *arg)
{
	struct unix_walk walk = {.fn = fn, .arg = arg};

	struct {
		struct nlmsghdr header;
		struct unix_diag_req body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.sdiag_family = AF_UNIX,
			 .udiag_states = ~0U,
			 .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS},
	};
	struct query query = {
		.request = &request,
		.request_size = sizeof(request),
		.fixed_size = sizeof(struct unix_diag_msg),
		.fn = take_unix,
		.arg = &walk,
	};

	return run(&query);
}

struct netlink_walk {
	sockdiag_netlink_fn fn;
	void *arg;
};

static int take_netlink(const struct nlmsghdr *message, const struct rtattr *attr, int len,
			void *arg)
{
	const struct netlink_diag_msg *head =
		(const struct netlink_diag_msg *)((const char *)message + NLMSG_HDRLEN);
	struct netlink_walk *walk = arg;
	struct sockdiag_netlink socket = {.inode = head->ndiag_ino};

	for (; RTA_OK(attr, len); attr = next_attr(attr, &len)) {
		if (attr->rta_type != NETLINK_DIAG_GROUPS)
			continue;
		socket.groups =
			(const uint32_t *)(const void *)((const char *)attr + RTA_LENGTH(0));
		socket.n_groups = RTA_PAYLOAD(attr) / sizeof(uint32_t);
	}
	return walk->fn(&socket, walk->arg);
}

int sockdiag_each_netlink(sockdiag_netlink_fn fn, void *arg)
{
	struct netlink_walk walk = {.fn = fn, .arg = arg};

	struct {
		struct nlmsghdr header;
		struct netlink_diag_req body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.sdiag_family = AF_NETLINK,
			 .sdiag_protocol = NDIAG_PROTO_ALL,
			 .ndiag_show = NDIAG_SHOW_GROUPS},
	};
	struct query query = {
		.request = &request,
		.request_size = sizeof(request),
		.fixed_size = sizeof(struct netlink_diag_msg),
		.fn = take_netlink,
		.arg = &walk,
	};

	return run(&query);
}
