/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_OPEN_FILES_H
#define SNAP_SNAPSHOT_TASK_OPEN_FILES_H

/*
 * Every regular file that a tree has mapped or open, once each, by path. Unlinked files, memfds
 * and the files of /proc, /sys and other kernel file systems are left out: CRIU keeps the first
 * two itself and the rest cannot be carried.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "snapshot/task/tree.h"

struct open_file {
	char *path;
	struct stat st;
	bool mapped;
	bool written; /* open for writing, or mapped shared and writable */
	bool append;  /* every open descriptor on it has O_APPEND, and it is not mapped */
};

struct open_files {
	struct open_file *items;
	size_t n;
};

int open_files_collect(const struct task_tree *tree, struct open_files *ret,
		       struct snap_error *err);
void open_files_done(struct open_files *files); /* idempotent */

#endif
