/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "snapshot/task/audit_internal.h"

#define TTYS_MAX 65536 /* more pseudo terminals than a kernel has */

/* one side of a pseudo terminal held by the tree */
struct audit_tty {
	const struct tree_process *owner;
	int fd;
	long index;
	bool master;
};

static bool is_slave(dev_t device)
{
	return major(device) >= UNIX98_PTY_SLAVE_MAJOR &&
	       major(device) < UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT;
}

int audit_tty_add(struct audit *audit, const struct tree_process *process, int fd, dev_t device,
		  const char *link)
{
	bool master = major(device) == TTYAUX_MAJOR && minor(device) == 2;
	struct audit_tty *bigger;
	long index = minor(device);

	if (!master && !is_slave(device))
		return 0;
	/* the name goes with the master: this terminal is hung up, which CRIU dumps */
	if (!master && strstr(link, " (deleted)"))
		return 0;
	if (master && audit_fdinfo(process->pid, fd, "tty-index", 10, &index) < 0)
		return 0;
	if (audit->n_ttys == TTYS_MAX)
		return 0;
	if (audit->n_ttys == audit->room_ttys) {
		size_t room = audit->room_ttys ? audit->room_ttys * 2 : 16;

		bigger = reallocarray(audit->ttys, room, sizeof(*bigger));
		if (!bigger)
			return snap_fail(audit->err, SNAP_E_INTERNAL, ENOMEM,
					 "cannot note the terminals");
		audit->ttys = bigger;
		audit->room_ttys = room;
	}
	audit->ttys[audit->n_ttys++] = (struct audit_tty){
		.owner = process,
		.fd = fd,
		.index = index,
		.master = master,
	};
	return 0;
}

static bool has_master(const struct audit *audit, long index)
{
	for (size_t i = 0; i < audit->n_ttys; i++) {
		if (audit->ttys[i].master && audit->ttys[i].index == index)
			return true;
	}
	return false;
}

void audit_ttys(struct audit *audit)
{
	for (size_t i = 0; i < audit->n_ttys; i++) {
		const struct audit_tty *tty = &audit->ttys[i];

		if (!tty->master && !has_master(audit, tty->index))
			audit_find(audit, tty->owner,
				   "fd %d is the terminal /dev/pts/%ld, whose other side is "
				   "outside the engine's tree; start the engine with pipes "
				   "instead of a terminal",
				   tty->fd, tty->index);
	}
}
