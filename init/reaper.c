/* SPDX-License-Identifier: Apache-2.0 */
#include "init/reaper.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

/* what waitpid would have said */
static int wait_status(const siginfo_t *info)
{
	if (info->si_code == CLD_EXITED)
		return (info->si_status & 0xff) << 8;
	return (info->si_status & 0x7f) | (info->si_code == CLD_DUMPED ? 0x80 : 0);
}

int reaper_run(reaper_fn fn, void *arg)
{
	/* __WALL: a restored or ptraced task may have another exit signal than SIGCHLD */
	for (int n = 0;; n++) {
		siginfo_t info = {.si_pid = 0};
		pid_t pid;

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) {
			if (errno == EINTR)
				continue;
			return errno == ECHILD ? n : -errno;
		}
		if (info.si_pid == 0)
			return n;
		pid = info.si_pid;
		fn(pid, wait_status(&info), arg);
		while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | __WALL) < 0 &&
		       errno == EINTR)
			;
	}
}
