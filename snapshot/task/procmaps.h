/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_PROCMAPS_H
#define SNAP_SNAPSHOT_TASK_PROCMAPS_H

/*
 * Reader of /proc/PID/maps, one mapping at a time, without allocation. The path of a mapping is a
 * view into the reader's buffer and lasts until the next step.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* PATH_MAX bytes, each escaped into four at worst, and the columns before them */
#define PROCMAPS_LINE_MAX (4096 * 4 + 256)

struct proc_map {
	uint64_t start;
	uint64_t end;
	int prot; /* PROT_READ | PROT_WRITE | PROT_EXEC */
	bool shared;
	bool deleted; /* the kernel says " (deleted)", which path no longer has */
	uint64_t offset;
	dev_t dev;
	uint64_t inode;
	const char *path; /* "" for anonymous memory; newlines unescaped */
};

/*
 * One line of len bytes without its newline; line[len] must be NUL. The path is unescaped in
 * place. 0 or -EPROTO. The kernel escapes newlines but no backslash, and deleted files have no
 * mark of their own, so a file truly named "a\012b" or "a (deleted)" is told wrongly: compare
 * device and inode before trusting a path.
 */
int proc_map_parse(char *line, size_t len, struct proc_map *ret);

struct procmaps {
	int fd;
	bool end_of_file;
	size_t at;   /* first byte not yet given out */
	size_t used; /* bytes in buf */
	char buf[PROCMAPS_LINE_MAX];
};

/* 0 or -errno (-ENOENT or -ESRCH: no such process) */
int procmaps_open(struct procmaps *ret, pid_t pid);

/* the same over an open maps file (or any file of such lines); fd becomes ours */
void procmaps_init_take(struct procmaps *ret, int fd);

/* 1 and *ret; 0 at the end; -EPROTO, -ENAMETOOLONG (line above PROCMAPS_LINE_MAX) or -errno */
int procmaps_next(struct procmaps *maps, struct proc_map *ret);

void procmaps_close(struct procmaps *maps); /* idempotent */

#define snap_cleanup_procmaps __attribute__((cleanup(procmaps_close)))

#endif
