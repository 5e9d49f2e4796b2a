/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/task/audit_internal.h"
#include "snapshot/task/sockdiag.h"

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

int audit_each_line(struct audit *audit, const char *path,
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

	r = audit_each_line(audit, "/proc/net/netlink", check_netlink_line);
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
	if (any_of_protocol(audit, "TCP"))
		r = audit_tcp_sockets(audit);
	if (r == 0 && any_of_protocol(audit, "NETLINK"))
		r = check_netlink(audit);
	if (r == 0 && any_of_protocol(audit, "UNIX"))
		r = audit_unix_sockets(audit);
	return r;
}
