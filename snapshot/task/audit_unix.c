/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/procfs.h"
#include "snapshot/task/audit_internal.h"
#include "snapshot/task/sockdiag.h"

#define UNIX_SOCKETS_MAX (1U << 18)

/* every unix socket of the network namespace, and who waits at which listener */
struct unix_table {
	struct unix_socket {
		uint32_t inode;
		uint32_t peer;
		int type;
		char name[110];
	} * sockets;

	size_t n_sockets;
	size_t room_sockets;

	struct unix_waiting {
		uint32_t client;
		uint32_t listener;
	} * waiting;

	size_t n_waiting;
	size_t room_waiting;
};

static void unix_table_done(struct unix_table *table)
{
	free(table->sockets);
	free(table->waiting);
	*table = (struct unix_table){0};
}

struct holder_search {
	const struct audit *audit;
	char link[32];
};

static int note_unix(const struct sockdiag_unix *socket, void *arg)
{
	struct unix_table *table = arg;
	struct unix_socket *row;
	void *items = table->sockets;
	int r;

	r = audit_make_room(&items, table->n_sockets, &table->room_sockets, sizeof(*row),
			    UNIX_SOCKETS_MAX);
	table->sockets = items;
	if (r < 0)
		return r;
	row = &table->sockets[table->n_sockets++];
	*row = (struct unix_socket){
		.inode = socket->inode,
		.peer = socket->peer,
		.type = socket->type,
	};
	(void)snprintf(row->name, sizeof(row->name), "%s", socket->name);

	for (size_t i = 0; i < socket->n_waiting; i++) {
		items = table->waiting;
		r = audit_make_room(&items, table->n_waiting, &table->room_waiting,
				    sizeof(*table->waiting), UNIX_SOCKETS_MAX);
		table->waiting = items;
		if (r < 0)
			return r;
		table->waiting[table->n_waiting++] = (struct unix_waiting){
			.client = socket->waiting[i],
			.listener = socket->inode,
		};
	}
	return 0;
}

static const struct unix_socket *find_unix(const struct unix_table *table, uint32_t inode)
{
	for (size_t i = 0; inode != 0 && i < table->n_sockets; i++) {
		if (table->sockets[i].inode == inode)
			return &table->sockets[i];
	}
	return NULL;
}

/* the listener that has yet to accept this client; NULL: none */
static const struct unix_socket *find_listener(const struct unix_table *table, uint32_t client)
{
	for (size_t i = 0; i < table->n_waiting; i++) {
		if (table->waiting[i].client == client)
			return find_unix(table, table->waiting[i].listener);
	}
	return NULL;
}

/* a process outside the tree that has this socket open; 0: none we can see */
static int look_for_holder(pid_t pid, void *arg)
{
	struct holder_search *search = arg;
	snap_cleanup_closedir DIR *dir = NULL;
	char path[32], link[64];

	if (task_tree_has(search->audit->tree, pid))
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strcmp(link, search->link) == 0)
			return (int)pid;
	}
	return 0;
}

static void tell_outside(struct audit *audit, const struct audit_socket *socket, const char *name,
			 uint32_t end)
{
	struct holder_search search = {.audit = audit};
	struct proc_stat holder = {0};
	int pid;

	(void)snprintf(search.link, sizeof(search.link), "socket:[%" PRIu32 "]", end);
	pid = procfs_each_pid(look_for_holder, &search);
	if (pid <= 0) {
		audit_find_transient(audit, socket->owner,
				     "fd %d is a unix socket ('%.90s') whose other end nobody in "
				     "this container holds: it is in flight, or outside; wait, or "
				     "close it before the capture",
				     socket->fd, name);
		return;
	}
	if (procfs_stat(pid, &holder) < 0)
		(void)snprintf(holder.comm, sizeof(holder.comm), "?");
	audit_find(audit, socket->owner,
		   "fd %d is a unix socket ('%.90s') whose other end is outside the engine's tree "
		   "in pid %d (%s), which CRIU cannot dump; close it before the capture or start "
		   "the other side inside the tree",
		   socket->fd, name, pid, holder.comm);
}

static void check_unix(struct audit *audit, const struct unix_table *table,
		       const struct unix_socket *row)
{
	const struct audit_socket *socket = audit_socket_owned(audit, row->inode);
	const struct unix_socket *peer;
	const char *name;
	uint32_t end;

	if (!socket)
		return;
	peer = row->peer ? find_unix(table, row->peer) : find_listener(table, row->inode);
	end = peer ? peer->inode : row->peer;
	if (end == 0 || audit_socket_owned(audit, end))
		return;
	/* CRIU finds the other end of a datagram socket again by its name (ext-unix-sk) */
	if (row->type == SOCK_DGRAM && peer && peer->name[0] != '\0')
		return;
	name = peer && peer->name[0] != '\0' ? peer->name : row->name;
	tell_outside(audit, socket, name[0] != '\0' ? name : "no name", end);
}

int audit_unix_sockets(struct audit *audit)
{
	snap_cleanup(unix_table_done) struct unix_table table = {0};
	int r;

	r = sockdiag_each_unix(note_unix, &table);
	if (r < 0)
		return snap_fail(audit->err, SNAP_E_UNSNAPSHOTABLE, -r,
				 "cannot list the unix sockets, and neither can CRIU (sock_diag)");
	for (size_t i = 0; i < table.n_sockets; i++)
		check_unix(audit, &table, &table.sockets[i]);
	return 0;
}
