/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/shmem.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "common/fd.h"

dev_t shmem_device(void)
{
	snap_cleanup_close int fd = memfd_create("device", MFD_CLOEXEC);
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 ? st.st_dev : 0;
}
