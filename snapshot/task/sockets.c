/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/sockets.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define INODES_MAX 65536U

enum {
	TCP_STATE_LISTEN = 0x0a,
	UDP_STATE_UNCONNECTED = 0x07
};

struct inode_set {
	uint64_t *items;
	size_t n;
};

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool has_inode(const struct inode_set *set, uint64_t inode)
{
	return set->n > 0 &&
	       bsearch(&inode, set->items, set->n, sizeof(inode), compare_u64) != NULL;
}

static int add_inode(struct inode_set *set, uint64_t inode)
{
	uint64_t *bigger;

	if (set->n >= INODES_MAX)
		return -E2BIG;
	bigger = reallocarray(set->items, set->n + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	bigger[set->n++] = inode;
	set->items = bigger;
	return 0;
}

static int add_process(pid_t pid, struct inode_set *set)
{
	snap_cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	char path[32], link[64];
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);
		uint64_t inode;

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (sscanf(link, "socket:[%" SCNu64 "]", &inode) == 1)
			r = add_inode(set, inode);
	}
	return r;
}

static int collect_inodes(const struct task_tree *tree, struct inode_set *set,
			  struct snap_error *err)
{
	for (size_t i = 0; i < tree->n_processes; i++) {
		int r = tree->processes[i].zombie ? 0 : add_process(tree->processes[i].pid, set);

		if (r < 0)
			return snap_fail(err, SNAP_E_DUMP, -r,
					 "cannot list the sockets of pid %d (%s)",
					 (int)tree->processes[i].pid, tree->processes[i].comm);
	}
	if (set->n > 0)
		qsort(set->items, set->n, sizeof(set->items[0]), compare_u64);
	return 0;
}

int sockets_unix_paths(const struct task_tree *tree, struct string_list *paths,
		       struct snap_error *err)
{
	struct inode_set set = {0};
	snap_cleanup_free char *line = NULL;
	snap_cleanup_fclose FILE *file = NULL;
	size_t room = 0;
	int r = collect_inodes(tree, &set, err);

	if (r == 0) {
		file = fopen("/proc/net/unix", "re");
		if (!file)
			r = snap_fail(err, SNAP_E_DUMP, errno, "cannot read /proc/net/unix");
	}
	/* Num RefCount Protocol Flags Type St Inode Path */
	while (r == 0 && getline(&line, &room, file) > 0) {
		uint64_t inode;
		int path_at = 0;

		line[strcspn(line, "\n")] = '\0';
		if (sscanf(line, "%*s %*x %*x %*x %*x %*x %" SCNu64 " %n", &inode, &path_at) != 1 ||
		    path_at == 0 || line[path_at] != '/' || !has_inode(&set, inode))
			continue;
		r = string_list_add(paths, line + path_at);
	}
	free(set.items);
	return r;
}

static int add_listener(struct manifest *m, const char *protocol, const char *address,
			uint32_t port)
{
	struct manifest_listener *bigger;

	for (size_t i = 0; i < m->n_listeners; i++) {
		if (m->listeners[i].port == port &&
		    strcmp(m->listeners[i].protocol, protocol) == 0 &&
		    strcmp(m->listeners[i].address, address) == 0)
			return 0;
	}
	if (m->n_listeners >= MANIFEST_ITEMS_MAX)
		return -E2BIG;
	bigger = reallocarray(m->listeners, m->n_listeners + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	m->listeners = bigger;
	bigger += m->n_listeners;
	*bigger = (struct manifest_listener){
		.protocol = strdup(protocol), .address = strdup(address), .port = port};
	m->n_listeners++; /* counted even when half made: manifest_done() frees it */
	return bigger->protocol && bigger->address ? 0 : -ENOMEM;
}

/* "0100007F" or 32 digits, as the kernel prints addresses: 32-bit words in host order */
static int format_address(const char *hex, bool v6, char *buf, size_t size)
{
	uint32_t words[4];
	int n = v6 ? 4 : 1;

	if (strlen(hex) != (size_t)n * 8)
		return -EPROTO;
	for (int i = 0; i < n; i++) {
		char word[9];

		memcpy(word, hex + (ptrdiff_t)i * 8, 8);
		word[8] = '\0';
		words[i] = (uint32_t)strtoul(word, NULL, 16);
	}
	return inet_ntop(v6 ? AF_INET6 : AF_INET, words, buf, (socklen_t)size) ? 0 : -EPROTO;
}

static int read_table(const char *protocol, unsigned int wanted_state, const struct inode_set *set,
		      struct manifest *m)
{
	snap_cleanup_fclose FILE *file = NULL;
	char path[32], line[512];
	bool v6 = strchr(protocol, '6') != NULL;

	(void)snprintf(path, sizeof(path), "/proc/net/%s", protocol);
	file = fopen(path, "re");
	if (!file)
		return errno == ENOENT ? 0 : -errno; /* no IPv6 */
	while (fgets(line, sizeof(line), file)) {
		char hex[33], address[INET6_ADDRSTRLEN];
		unsigned int port, state;
		uint64_t inode;
		int r;

		/* sl local rem st tx:rx tr:tm retrnsmt uid timeout inode */
		if (sscanf(line, " %*d: %32[0-9A-F]:%x %*s %x %*s %*s %*s %*d %*d %" SCNu64, hex,
			   &port, &state, &inode) != 4)
			continue;
		if (state != wanted_state || !has_inode(set, inode))
			continue;
		r = format_address(hex, v6, address, sizeof(address));
		if (r == 0)
			r = add_listener(m, protocol, address, port);
		if (r < 0)
			return r;
	}
	return 0;
}

int sockets_listeners(const struct task_tree *tree, struct manifest *m, struct snap_error *err)
{
	static const struct {
		const char *protocol;
		unsigned int state;
	} tables[] = {
		{"tcp", TCP_STATE_LISTEN},
		{"tcp6", TCP_STATE_LISTEN},
		{"udp", UDP_STATE_UNCONNECTED},
		{"udp6", UDP_STATE_UNCONNECTED},
	};
	struct inode_set set = {0};
	int r = collect_inodes(tree, &set, err);

	for (size_t i = 0; r == 0 && i < ARRAY_LEN(tables); i++) {
		r = read_table(tables[i].protocol, tables[i].state, &set, m);
		if (r < 0)
			(void)snap_fail(err, SNAP_E_DUMP, -r, "cannot read /proc/net/%s",
					tables[i].protocol);
	}
	free(set.items);
	return r;
}
