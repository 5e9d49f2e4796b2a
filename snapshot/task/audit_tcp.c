/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's tables have every connection and every listener. A TCP socket that they lack was
 * never more than bound, which CRIU dumps, or it has been connected and both ends have shut down
 * or one has reset: CRIU takes that for a connection, by the peer that the socket still has.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/fd.h"
#include "snapshot/task/audit_internal.h"

/* states in /proc/net/tcp */
enum tcp_state {
	TCP_STATE_ESTABLISHED = 1,
	TCP_STATE_SYN_SENT,
	TCP_STATE_SYN_RECV,
	TCP_STATE_FIN_WAIT1,
	TCP_STATE_FIN_WAIT2,
	TCP_STATE_TIME_WAIT,
	TCP_STATE_CLOSE,
	TCP_STATE_CLOSE_WAIT,
	TCP_STATE_LAST_ACK,
	TCP_STATE_LISTEN,
};

#define ENDPOINT_MAX 64

/* "127.0.0.1:80" or "[::1]:80" of the kernel's words of hex, each in our byte order */
static bool format_hex(const char *hex, unsigned int port, char buf[ENDPOINT_MAX])
{
	bool v6 = strlen(hex) == 32;
	char text[INET6_ADDRSTRLEN];
	uint32_t words[4] = {0};

	if (!v6 && strlen(hex) != 8)
		return false;
	for (size_t i = 0; i < (v6 ? 4 : 1); i++) {
		if (sscanf(hex + i * 8, "%8" SCNx32, &words[i]) != 1)
			return false;
	}
	if (!inet_ntop(v6 ? AF_INET6 : AF_INET, words, text, sizeof(text)))
		return false;
	(void)snprintf(buf, ENDPOINT_MAX, v6 ? "[%s]:%u" : "%s:%u", text, port);
	return true;
}

static void check_line(struct audit *audit, const char *line)
{
	char local_hex[33], remote_hex[33], local[ENDPOINT_MAX], remote[ENDPOINT_MAX];
	unsigned int local_port, remote_port, state, waiting;
	struct audit_socket *socket;
	const char *what;
	uint64_t inode;

	if (sscanf(line,
		   " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %*x:%x %*x:%*x %*x %*u %*u %" SCNu64,
		   local_hex, &local_port, remote_hex, &remote_port, &state, &waiting, &inode) != 7)
		return;
	socket = audit_socket_owned(audit, inode);
	if (!socket)
		return;
	socket->listed = true;
	if (state == TCP_STATE_CLOSE || (state == TCP_STATE_LISTEN && waiting == 0) ||
	    !format_hex(local_hex, local_port, local) ||
	    !format_hex(remote_hex, remote_port, remote))
		return;
	if (state == TCP_STATE_LISTEN) {
		audit_find_transient(audit, socket->owner,
				     "fd %d: tcp %s has connections not yet accepted (%u), which a "
				     "wake drops; wait until the engine has taken them",
				     socket->fd, local, waiting);
		return;
	}
	if (state == TCP_STATE_ESTABLISHED)
		what = "open";
	else if (state == TCP_STATE_SYN_SENT || state == TCP_STATE_SYN_RECV)
		what = "opening";
	else
		what = "closing";
	audit_find_transient(audit, socket->owner,
			     "fd %d: tcp %s ↔ %s is %s, and no connection survives a wake; "
			     "close it before the capture",
			     socket->fd, local, remote, what);
}

/* false for another family */
static bool format_address(const struct sockaddr_storage *address, char buf[ENDPOINT_MAX],
			   in_port_t *ret_port)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
	char text[INET6_ADDRSTRLEN];

	if (address->ss_family == AF_INET) {
		*ret_port = ntohs(v4->sin_port);
		(void)inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
		(void)snprintf(buf, ENDPOINT_MAX, "%s:%u", text, *ret_port);
	} else if (address->ss_family == AF_INET6) {
		*ret_port = ntohs(v6->sin6_port);
		(void)inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
		(void)snprintf(buf, ENDPOINT_MAX, "[%s]:%u", text, *ret_port);
	}
	return address->ss_family == AF_INET || address->ss_family == AF_INET6;
}

/* a copy of the descriptor; FD_NONE: it was closed meanwhile, or the process is closed to us */
static int copy_of(const struct audit_socket *socket)
{
	snap_cleanup_close int pidfd = pidfd_open(socket->owner->pid, 0);
	int fd = pidfd < 0 ? -1 : pidfd_getfd(pidfd, socket->fd, 0);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_ino == socket->inode)
		return fd;
	return fd_close(fd < 0 ? FD_NONE : fd);
}

static void check_unlisted(struct audit *audit, const struct audit_socket *socket)
{
	snap_cleanup_close int fd = copy_of(socket);
	struct sockaddr_storage address = {0}, peer = {0};
	socklen_t size = sizeof(address);
	char local[ENDPOINT_MAX], remote[ENDPOINT_MAX];
	in_port_t port;

	/* unlike getpeername(2), SO_PEERNAME answers for what has ended; it wants the exact size */
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&address, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &peer, &size) < 0 ||
	    !format_address(&address, local, &port) || !format_address(&peer, remote, &port) ||
	    port == 0)
		return;
	audit_find_transient(audit, socket->owner,
			     "fd %d: tcp %s ↔ %s is shut down and not closed, which CRIU can dump "
			     "with NET_ADMIN only; close it before the capture",
			     socket->fd, local, remote);
}

int audit_tcp_sockets(struct audit *audit)
{
	int r = audit_each_line(audit, "/proc/net/tcp", check_line);

	if (r == 0)
		r = audit_each_line(audit, "/proc/net/tcp6", check_line);
	for (size_t i = 0; r == 0 && !audit->rights->admin && i < audit->n_sockets; i++) {
		const struct audit_socket *socket = &audit->sockets[i];

		if (!socket->listed && strncmp(socket->protocol, "TCP", 3) == 0)
			check_unlisted(audit, socket);
	}
	return r;
}
