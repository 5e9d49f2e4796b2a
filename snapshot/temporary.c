/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/temporary.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

int temporary_folder(const char *place, const char *purpose, char ret_path[FOLDER_PATH_MAX])
{
	snap_cleanup_close int fd = FD_NONE;
	struct stat st;

	(void)snprintf(ret_path, FOLDER_PATH_MAX, "%s/.snapinit-%s-%u", place, purpose, geteuid());
	if (mkdir(ret_path, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(ret_path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return -EPERM;
	return TAKE_FD(fd);
}
