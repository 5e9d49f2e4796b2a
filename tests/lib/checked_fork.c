/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fork() of the unit tests, by --wrap: a failure ends the program. The tests end what they have
 * forked with kill(pid, SIGKILL), and kill(-1, SIGKILL) as root ends everything on the machine.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

pid_t __real_fork(void);
pid_t __wrap_fork(void);

pid_t __wrap_fork(void)
{
	pid_t pid = __real_fork();

	if (pid < 0) {
		(void)fprintf(stderr, "cannot fork: %s\n", strerror(errno));
		_exit(1);
	}
	return pid;
}
