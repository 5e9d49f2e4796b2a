/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/task/audit_internal.h"
#include "snapshot/task/sockdiag.h"

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

int audit_make_room(void **items, size_t n, size_t *room, size_t size, size_t max)
{
	size_t wanted = *room ? *room * 2 : 64;
	void *bigger;

	if (n < *room)
		return 0;
	if (n >= max)
		return -E2BIG;
	bigger = reallocarray(*items, wanted, size);
	if (!bigger)
		return -ENOMEM;
	*items = bigger;
	*room = wanted;
	return 0;
}

int audit_socket_add(struct audit *audit, const struct tree_process *process, int fd,
		     uint64_t inode)
{
	struct audit_socket *socket;
	void *items = audit->sockets;
	char path[48];
	ssize_t n;
	int r;

	r = audit_make_room(&items, audit->n_sockets, &audit->room_sockets, sizeof(*socket),
			    AUDIT_SOCKETS_MAX);
	audit->sockets = items;
	if (r < 0)
		return snap_fail(audit->err, SNAP_E_UNSNAPSHOTABLE, -r, "cannot note the sockets");
	socket = &audit->sockets[audit->n_sockets++];
	*socket = (struct audit_socket){.inode = inode, .owner = process, .fd = fd};

	/* the one way to a socket's protocol that needs no copy of the descriptor */
	(void)snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)process->pid, fd);
	n = getxattr(path, "system.sockprotoname", socket->protocol, sizeof(socket->protocol) - 1);
	socket->protocol[n > 0 ? n : 0] = '\0';
	return 0;
}

static int by_inode(const void *a, const void *b)
{
	const struct audit_socket *x = a, *y = b;

	return (x->inode > y->inode) - (x->inode < y->inode);
}

struct audit_socket *audit_socket_owned(const struct audit *audit, uint64_t inode)
{
	struct audit_socket key = {.inode = inode};

	if (inode == 0)
		return NULL;
	return bsearch(&key, audit->sockets, audit->n_sockets, sizeof(key), by_inode);
}

/* a socket shared by several processes counts once */
static void sort_sockets(struct audit *audit)
{
	size_t kept = 0;

	if (audit->n_sockets > 0)
		qsort(audit->sockets, audit->n_sockets, sizeof(*audit->sockets), by_inode);
	for (size_t i = 0; i < audit->n_sockets; i++) {
		if (kept == 0 || audit->sockets[kept - 1].inode != audit->sockets[i].inode)
			audit->sockets[kept++] = audit->sockets[i];
	}
	audit->n_sockets = kept;
}

static bool any_of_protocol(const struct audit *audit, const char *prefix)
{
	for (size_t i = 0; i < audit->n_sockets; i++) {
		const char *protocol = audit->sockets[i].protocol;

		if (protocol[0] == '\0' || strncmp(protocol, prefix, strlen(prefix)) == 0)
			return true;
	}
	return false;
}

static void check_protocols(struct audit *audit)
{
	static const char *const known[] = {
		"",	 "TCP",	 "TCPv6",  "UDP",  "UDPv6",	  "UDP-Lite", "UDPLITEv6", "RAW",
		"RAWv6", "PING", "PINGv6", "UNIX", "UNIX-STREAM", "PACKET",   "NETLINK",
	};

	for (size_t i = 0; i < audit->n_sockets; i++) {
		const struct audit_socket *socket = &audit->sockets[i];
		const char *cure = "close it before the capture";
		bool fine = false;

		for (size_t k = 0; k < ARRAY_LEN(known); k++)
			fine = fine || strcmp(socket->protocol, known[k]) == 0;
		if (fine)
			continue;
		if (strncmp(socket->protocol, "MPTCP", 5) == 0)
			cure = "use plain TCP (GODEBUG=multipathtcp=0)";
		audit_find(audit, socket->owner,
			   "fd %d is a socket of protocol %s, which CRIU cannot dump; %s",
			   socket->fd, socket->protocol, cure);
	}
}

/* "127.0.0.1:80" or "[::1]:80" of the kernel's words of hex, each in our byte order */
static bool format_address(const char *hex, unsigned int port, char *buf, size_t size)
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
	(void)snprintf(buf, size, v6 ? "[%s]:%u" : "%s:%u", text, port);
	return true;
}

static void check_tcp_line(struct audit *audit, const char *line)
{
	char local_hex[33], remote_hex[33], local[64], remote[64];
	unsigned int local_port, remote_port, state, waiting;
	const struct audit_socket *socket;
	const char *what;
	uint64_t inode;

	if (sscanf(line,
		   " %*u: %32[0-9A-F]:%x %32[0-9A-F]:%x %x %*x:%x %*x:%*x %*x %*u %*u %" SCNu64,
		   local_hex, &local_port, remote_hex, &remote_port, &state, &waiting, &inode) != 7)
		return;
	socket = audit_socket_owned(audit, inode);
	if (!socket || state == TCP_STATE_CLOSE || (state == TCP_STATE_LISTEN && waiting == 0) ||
	    !format_address(local_hex, local_port, local, sizeof(local)) ||
	    !format_address(remote_hex, remote_port, remote, sizeof(remote)))
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

/* each line of a table in /proc/net; a table that this kernel lacks is empty */
static int each_line(struct audit *audit, const char *path,
		     void (*fn)(struct audit *audit, const char *line))
{
	snap_cleanup_fclose FILE *file = fopen(path, "re");
	char line[512];

	if (!file && errno == ENOENT)
		return 0;
	if (!file)
		return snap_fail(audit->err, SNAP_E_INTERNAL, errno, "cannot open '%s'", path);
	while (fgets(line, sizeof(line), file))
		fn(audit, line);
	if (ferror(file))
		return snap_fail(audit->err, SNAP_E_INTERNAL, EIO, "cannot read '%s'", path);
	return 0;
}

static void check_netlink_line(struct audit *audit, const char *line)
{
	const struct audit_socket *socket;
	unsigned long unread;
	uint64_t inode;

	if (sscanf(line, "%*x %*u %*d %*x %lu %*u %*u %*u %*u %" SCNu64, &unread, &inode) != 2)
		return;
	socket = audit_socket_owned(audit, inode);
	if (socket && unread > 0)
		audit_find_transient(audit, socket->owner,
				     "fd %d is a netlink socket with unread data, which CRIU "
				     "cannot dump; let the engine read it or close it",
				     socket->fd);
}

static int check_netlink_groups(const struct sockdiag_netlink *netlink, void *arg)
{
	struct audit *audit = arg;
	struct audit_socket *socket = audit_socket_owned(audit, netlink->inode);

	/* the kernel tells a socket once for its port and once for its groups */
	for (size_t i = 1; socket && !socket->told && i < netlink->n_groups; i++) {
		if (netlink->groups[i] == 0)
			continue;
		socket->told = true;
		audit_find(audit, socket->owner,
			   "fd %d is a netlink socket in a group above 32, which CRIU cannot dump; "
			   "close it before the capture",
			   socket->fd);
		break;
	}
	return 0;
}

static int check_netlink(struct audit *audit)
{
	int r;

	r = each_line(audit, "/proc/net/netlink", check_netlink_line);
	if (r < 0)
		return r;
	/* only to see the rarest of cases: no reason to fail where it is missing */
	(void)sockdiag_each_netlink(check_netlink_groups, audit);
	return 0;
}

int audit_sockets(struct audit *audit)
{
	int r = 0;

	sort_sockets(audit);
	check_protocols(audit);
	if (any_of_protocol(audit, "TCP")) {
		r = each_line(audit, "/proc/net/tcp", check_tcp_line);
		if (r == 0)
			r = each_line(audit, "/proc/net/tcp6", check_tcp_line);
	}
	if (r == 0 && any_of_protocol(audit, "NETLINK"))
		r = check_netlink(audit);
	if (r == 0 && any_of_protocol(audit, "UNIX"))
		r = audit_unix_sockets(audit);
	return r;
}
