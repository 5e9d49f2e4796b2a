/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "common/fd.h"
#include "snapshot/rule.h"

int beneath_open(int dir_fd, const char *name, int flags)
{
	snap_cleanup_close int at = FD_NONE;
	char component[NAME_MAX + 1];

	if (rule_relative_path(name))
		return -EINVAL;
	for (;;) {
		size_t len = strcspn(name, "/");
		bool is_last = name[len] == '\0';
		int fd;

		if (len > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(component, name, len);
		component[len] = '\0';
		fd = openat(at >= 0 ? at : dir_fd, component,
			    (is_last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (is_last)
			return fd;
		(void)fd_close(at);
		at = fd;
		name += len + 1;
	}
}
