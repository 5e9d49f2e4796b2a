/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/listener.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

#define SOCKETS_MAX    64
#define ACCEPTS	       0x10000U /* __SO_ACCEPTCON of the kernel: somebody listens */
#define FIELD_OF_FLAGS 3
#define FIELD_OF_INODE 6

struct sockets {
	unsigned long inodes[SOCKETS_MAX];
	unsigned int n;
};

static int list_sockets(pid_t pid, struct sockets *ret)
{
	char path[64], link[64];
	snap_cleanup_closedir DIR *dir = NULL;
	const struct dirent *entry;

	ret->n = 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)) && ret->n < SOCKETS_MAX) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strncmp(link, "socket:[", 8) == 0)
			ret->inodes[ret->n++] = strtoul(link + 8, NULL, 10);
	}
	return 0;
}

static bool holds(const struct sockets *sockets, unsigned long inode)
{
	for (unsigned int i = 0; i < sockets->n; i++) {
		if (sockets->inodes[i] == inode)
			return true;
	}
	return false;
}

/* "Num RefCount Protocol Flags Type St Inode Path"; the path of a listener that is held, or NULL */
static const char *path_in_line(char *line, const struct sockets *sockets)
{
	unsigned long flags = 0, inode = 0;
	char *at = line;

	for (unsigned int field = 0; field <= FIELD_OF_INODE; field++) {
		at += strspn(at, " ");
		if (field == FIELD_OF_FLAGS)
			flags = strtoul(at, NULL, 16);
		if (field == FIELD_OF_INODE)
			inode = strtoul(at, NULL, 10);
		at += strcspn(at, " \n");
	}
	at += strspn(at, " ");
	at[strcspn(at, "\n")] = '\0';
	return (flags & ACCEPTS) && at[0] == '/' && holds(sockets, inode) ? at : NULL;
}

int listener_path(pid_t pid, char ret[LISTENER_PATH_MAX])
{
	char name[64];
	snap_cleanup_fclose FILE *table = NULL;
	snap_cleanup_free char *line = NULL;
	struct sockets sockets;
	size_t size = 0;
	int r = list_sockets(pid, &sockets);

	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "/proc/%d/net/unix", (int)pid);
	table = fopen(name, "re");
	if (!table)
		return -errno;
	while (getline(&line, &size, table) >= 0) {
		const char *path = path_in_line(line, &sockets);

		if (path && strlen(path) < LISTENER_PATH_MAX) {
			(void)snprintf(ret, LISTENER_PATH_MAX, "%s", path);
			return 0;
		}
	}
	return -ENOENT;
}
