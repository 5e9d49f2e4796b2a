/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/parse.h"

struct endpoint {
	socklen_t size;

	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} addr;
};

/* "localhost" may be either family */
#define ENDPOINTS_MAX 2

static bool endpoint_from_v4(const char *host, int port, struct endpoint *ret)
{
	*ret = (struct endpoint){.size = sizeof(ret->addr.in)};
	ret->addr.in.sin_family = AF_INET;
	ret->addr.in.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, host, &ret->addr.in.sin_addr) != 1)
		return false;
	if (ret->addr.in.sin_addr.s_addr == htonl(INADDR_ANY))
		ret->addr.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return true;
}

static bool endpoint_from_v6(const char *host, int port, struct endpoint *ret)
{
	*ret = (struct endpoint){.size = sizeof(ret->addr.in6)};
	ret->addr.in6.sin6_family = AF_INET6;
	ret->addr.in6.sin6_port = htons((uint16_t)port);
	if (inet_pton(AF_INET6, host, &ret->addr.in6.sin6_addr) != 1)
		return false;
	if (IN6_IS_ADDR_UNSPECIFIED(&ret->addr.in6.sin6_addr))
		ret->addr.in6.sin6_addr = in6addr_loopback;
	return true;
}

/* number of endpoints, 0 for a host that is no address */
static unsigned int endpoints_of(const char *host, int port, struct endpoint ret[ENDPOINTS_MAX])
{
	if (strcmp(host, "localhost") == 0) {
		(void)endpoint_from_v4("127.0.0.1", port, &ret[0]);
		(void)endpoint_from_v6("::1", port, &ret[1]);
		return 2;
	}
	return endpoint_from_v4(host, port, ret) || endpoint_from_v6(host, port, ret) ? 1 : 0;
}

int address_set_host(const char *text, size_t size, char ret_host[ADDRESS_HOST_MAX],
		     struct snap_error *err)
{
	struct endpoint endpoints[ENDPOINTS_MAX];
	char host[ADDRESS_HOST_MAX];

	if (size == 0 || size >= sizeof(host) || memchr(text, '\0', size))
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "host '%.*s' is empty or too long",
				 (int)(size < 80 ? size : 80), text);
	memcpy(host, text, size);
	host[size] = '\0';
	if (endpoints_of(host, 1, endpoints) == 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "host '%s' is no numeric address and not localhost; names are not "
				 "looked up",
				 host);
	memcpy(ret_host, host, size + 1);
	return 0;
}

int address_parse(const char *text, size_t size, int default_port, char ret_host[ADDRESS_HOST_MAX],
		  int *ret_port, struct snap_error *err)
{
	const char *host = text, *host_end, *rest, *end = text + size;
	int port = default_port;

	if (size > 0 && text[0] == '[') {
		host = text + 1;
		host_end = memchr(host, ']', size - 1);
		if (!host_end)
			return snap_fail(err, SNAP_E_USAGE, EINVAL, "no ']' in address '%.*s'",
					 (int)(size < 80 ? size : 80), text);
		rest = host_end + 1;
	} else {
		host_end = memchr(text, ':', size);
		if (!host_end)
			host_end = end;
		rest = host_end;
	}

	if (rest < end) {
		char digits[8] = "";
		size_t n = (size_t)(end - rest) - 1;

		if (n < sizeof(digits))
			memcpy(digits, rest + 1, n);
		if (*rest != ':' || n >= sizeof(digits) || parse_int(digits, 1, 65535, &port) < 0)
			return snap_fail(
				err, SNAP_E_USAGE, EINVAL,
				"no port from 1 to 65535 in address '%.*s' (an IPv6 address "
				"stands in brackets)",
				(int)(size < 80 ? size : 80), text);
	}
	if (port == 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "address '%.*s' lacks a port",
				 (int)(size < 80 ? size : 80), text);
	if (address_set_host(host, (size_t)(host_end - host), ret_host, err) < 0)
		return -EINVAL;
	*ret_port = port;
	return 0;
}

void address_format(const char *host, int port, char buf[ADDRESS_TEXT_MAX])
{
	bool is_v6 = strchr(host, ':') != NULL;

	(void)snprintf(buf, ADDRESS_TEXT_MAX, "%s%s%s:%d", is_v6 ? "[" : "", host, is_v6 ? "]" : "",
		       port);
}

/*
 * While nobody listens on a port of the ephemeral range, a connect may be given that very port as
 * its source and so meet itself. It then looks connected, and would keep the engine from binding.
 */
static bool is_connected_to_itself(int fd, const struct endpoint *to)
{
	struct endpoint self = {.size = sizeof(self.addr)};

	if (getsockname(fd, &self.addr.any, &self.size) < 0 || self.size != to->size)
		return false;
	return memcmp(&self.addr, &to->addr, to->size) == 0;
}

static int wait_connected(int fd, uint64_t deadline_ns)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	socklen_t size = sizeof(int);
	int errnum = 0, n;

	do
		n = poll(&pfd, 1, deadline_left_ms(deadline_ns));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size) < 0)
		return -errno;
	return -errnum;
}

static int connect_endpoint(const struct endpoint *to, uint64_t deadline_ns)
{
	snap_cleanup_close int fd = FD_NONE;
	int r = 0;

	fd = socket(to->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, &to->addr.any, to->size) < 0)
		r = errno == EINPROGRESS || errno == EINTR ? wait_connected(fd, deadline_ns)
							   : -errno;
	if (r < 0)
		return r;
	if (is_connected_to_itself(fd, to)) {
		/* reset it: in TIME_WAIT it would still hold the port */
		const struct linger reset = {.l_onoff = 1, .l_linger = 0};

		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		return -ECONNREFUSED;
	}
	return TAKE_FD(fd);
}

int address_connect(const char *host, int port, uint64_t deadline_ns)
{
	struct endpoint endpoints[ENDPOINTS_MAX];
	unsigned int n = endpoints_of(host, port, endpoints);
	int first = -EINVAL;

	for (unsigned int i = 0; i < n; i++) {
		int fd = connect_endpoint(&endpoints[i], deadline_ns);

		if (fd >= 0)
			return fd;
		/* the first family says more than the lack of the second */
		if (i == 0)
			first = fd;
	}
	return first;
}
