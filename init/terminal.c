/* SPDX-License-Identifier: Apache-2.0 */
#include "init/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

void terminal_give_up(void)
{
	/* no terminal, or none of ours: nothing to let go of */
	(void)ioctl(STDIN_FILENO, TIOCNOTTY);
}
