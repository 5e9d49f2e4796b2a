/* SPDX-License-Identifier: Apache-2.0 */
#include "init/terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

void terminal_give_up(void)
{
	const struct timespec at_once = {.tv_sec = 0};
	sigset_t set;

	if (ioctl(STDIN_FILENO, TIOCNOTTY) < 0 || getsid(0) != getpid())
		return;
	/* a session leader that lets go: the foreground group, so we, get HUP and CONT */
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGHUP);
	(void)sigaddset(&set, SIGCONT);
	while (sigtimedwait(&set, NULL, &at_once) > 0)
		;
}
