/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_SOCKDIAG_H
#define SNAP_SNAPSHOT_TASK_SOCKDIAG_H

/*
 * What the kernel's socket monitoring (NETLINK_SOCK_DIAG) knows beyond /proc/net: the peers and
 * queues of unix sockets, the groups of netlink sockets. All of our network namespace.
 */

#include <stddef.h>
#include <stdint.h>

struct sockdiag_unix {
	uint32_t inode;
	uint32_t peer;		 /* inode; 0: none, or not yet accepted */
	int type;		 /* SOCK_STREAM … */
	char name[108 + 2];	 /* path, or '@' and an abstract name; "" */
	const uint32_t *waiting; /* of a listener: inodes of clients not yet accepted */
	size_t n_waiting;
};

struct sockdiag_netlink {
	uint32_t inode;
	const uint32_t *groups; /* bit mask, 32 each */
	size_t n_groups;
};

/* a callback's non-zero value ends the walk and is returned */
typedef int (*sockdiag_unix_fn)(const struct sockdiag_unix *socket, void *arg);
typedef int (*sockdiag_netlink_fn)(const struct sockdiag_netlink *socket, void *arg);

/* 0, the callback's value, or -errno (-ENOENT, -EOPNOTSUPP: not in this kernel) */
int sockdiag_each_unix(sockdiag_unix_fn fn, void *arg);
int sockdiag_each_netlink(sockdiag_netlink_fn fn, void *arg);

#endif
