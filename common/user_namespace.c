/* SPDX-License-Identifier: Apache-2.0 */
#include "common/user_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/fd.h"
#include "common/io.h"

static int write_file(const char *path, const char *text, size_t size)
{
	snap_cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : io_write_full(fd, text, size);
}

static int map(const char *path, unsigned int id)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "0 %u 1\n", id);

	return write_file(path, text, (size_t)n);
}

bool user_namespace_has(uid_t uid)
{
	char text[4096], *line = text, *rest;
	ssize_t n = io_read_line(AT_FDCWD, "/proc/self/uid_map", text, sizeof(text));

	if (n <= 0)
		return true;
	while ((line = strtok_r(line, "\n", &rest))) {
		unsigned int first, outside, count;

		if (sscanf(line, "%u %u %u", &first, &outside, &count) == 3 && uid >= first &&
		    uid - first < count)
			return true;
		line = NULL;
	}
	return false;
}

int user_namespace_map_root(uid_t uid, gid_t gid)
{
	static const char deny[] = "deny";
	int r = map("/proc/self/uid_map", uid);

	/* a group may only be mapped where nobody can drop one: user_namespaces(7) */
	if (r == 0)
		r = write_file("/proc/self/setgroups", deny, sizeof(deny) - 1);
	if (r == 0)
		r = map("/proc/self/gid_map", gid);
	return r;
}
