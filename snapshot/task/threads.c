/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/threads.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/cleanup.h"

int threads_each(pid_t pid, threads_fn fn, void *arg)
{
	snap_cleanup_closedir DIR *dir = NULL;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	for (;;) {
		struct dirent *entry;
		int r;

		errno = 0;
		entry = readdir(dir);
		if (!entry)
			return errno == ENOENT ? -ESRCH : -errno;
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		r = fn((pid_t)strtol(entry->d_name, NULL, 10), arg);
		if (r != 0)
			return r;
	}
}
