/* SPDX-License-Identifier: Apache-2.0 */
#include "common/procfs.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"

#define PF_EXITING    0x4U /* include/linux/sched.h; in field 9 of /proc/PID/stat since ever */
#define ANCESTORS_MAX 512  /* a loop in a changing /proc must end */

struct dirent_raw {
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

int procfs_stat(pid_t pid, struct proc_stat *ret)
{
	char path[32], buf[1024], *open_paren, *close_paren;
	ssize_t n;
	int ppid, pgrp, session, fields;
	unsigned int flags;
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	n = io_read_line(AT_FDCWD, path, buf, sizeof(buf));
	if (n < 0)
		return (int)n;

	/* the name may hold blanks and parentheses: take the outermost pair */
	open_paren = strchr(buf, '(');
	close_paren = strrchr(buf, ')');
	if (!open_paren || !close_paren || close_paren < open_paren)
		return -EPROTO;
	len = (size_t)(close_paren - open_paren - 1);
	if (len >= sizeof(ret->comm))
		len = sizeof(ret->comm) - 1;
	memcpy(ret->comm, open_paren + 1, len);
	ret->comm[len] = '\0';

	fields = sscanf(close_paren + 1,
			" %c %d %d %d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %d %*d "
			"%" SCNu64,
			&ret->state, &ppid, &pgrp, &session, &flags, &ret->n_threads,
			&ret->start_ticks);
	if (fields != 7)
		return -EPROTO;
	ret->pid = pid;
	ret->ppid = ppid;
	ret->pgrp = pgrp;
	ret->session = session;
	ret->exiting = flags & PF_EXITING;
	return 0;
}

int procfs_each_pid(procfs_pid_fn fn, void *arg)
{
	snap_cleanup_close int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char buf[8192] __attribute__((aligned(8)));

	if (fd < 0)
		return -errno;
	for (;;) {
		long n = syscall(SYS_getdents64, fd, buf, sizeof(buf));

		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		for (long at = 0; at < n;) {
			struct dirent_raw *entry = (struct dirent_raw *)(void *)(buf + at);
			int r;

			at += entry->reclen;
			if (!isdigit((unsigned char)entry->name[0]))
				continue;
			r = fn((pid_t)atoi(entry->name), arg);
			if (r != 0)
				return r;
		}
	}
}

bool procfs_is_descendant(pid_t pid, pid_t ancestor)
{
	struct proc_stat stat;

	for (int i = 0; i < ANCESTORS_MAX; i++) {
		if (procfs_stat(pid, &stat) < 0 || stat.ppid <= 0)
			return false;
		if (stat.ppid == ancestor)
			return true;
		pid = stat.ppid;
	}
	return false;
}

int procfs_status_field(pid_t pid, const char *key, char *buf, size_t size)
{
	char path[32], text[8192], *line;
	size_t key_len = strlen(key);
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	n = io_read_line(AT_FDCWD, path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	line = text;
	line[strcspn(line, "\n")] = '\0';
	for (;;) {
		char *next = line + strlen(line) + 1;

		if (strncmp(line, key, key_len) == 0 && line[key_len] == ':') {
			line += key_len + 1;
			line += strspn(line, " \t");
			if (strlen(line) >= size)
				return -ENOSPC;
			memcpy(buf, line, strlen(line) + 1);
			return 0;
		}
		if (next >= text + n)
			break;
		line = next;
		line[strcspn(line, "\n")] = '\0';
	}
	return -ENOENT;
}
