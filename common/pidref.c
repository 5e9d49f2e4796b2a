/* SPDX-License-Identifier: Apache-2.0 */
#include "common/pidref.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/fd.h"

int pidref_open(struct pidref *ref, pid_t pid)
{
	int fd;

	*ref = PIDREF_NONE;
	fd = (int)syscall(SYS_pidfd_open, pid, 0U);
	if (fd < 0 && errno != ENOSYS && errno != EPERM)
		return -errno;
	ref->pid = pid;
	ref->fd = fd < 0 ? FD_NONE : fd;
	return 0;
}

void pidref_done(struct pidref *ref)
{
	(void)fd_close(ref->fd);
	*ref = PIDREF_NONE;
}

int pidref_kill(const struct pidref *ref, int sig)
{
	if (ref->pid <= 0)
		return -ESRCH;
	if (ref->fd >= 0) {
		if (syscall(SYS_pidfd_send_signal, ref->fd, sig, NULL, 0U) == 0)
			return 0;
		if (errno != ENOSYS && errno != EPERM)
			return -errno;
	}
	return kill(ref->pid, sig) < 0 ? -errno : 0;
}
