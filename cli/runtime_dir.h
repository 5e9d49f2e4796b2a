/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_RUNTIME_DIR_H
#define SNAP_CLI_RUNTIME_DIR_H

/*
 * Where a container that snapctl starts is found by its name: a folder BASE/NAME, mode 0700, with
 * the control socket of its snapinit. Its containers have no /run of their own, so a fixed path
 * would be the first one's alone.
 *
 * BASE is the first that can be had of /run/snapinit, $XDG_RUNTIME_DIR/snapinit,
 * /run/user/UID/snapinit and /tmp/snapinit-UID: owned by us or root, and writable for nobody else.
 * Who starts a container holds a lock on its folder, which the kernel releases however that ends:
 * a folder without one is a leftover, and the next claim removes it.
 */

#include "cli/credentials.h"
#include "common/error.h"
#include "common/fd.h"

#define RUNTIME_NAME_MAX   64  /* with its NUL */
#define RUNTIME_SOCKET_MAX 108 /* sun_path */

struct runtime_dir {
	int base_fd;
	int fd; /* locked; FD_NONE: there is none */
	char name[RUNTIME_NAME_MAX];
	char socket[RUNTIME_SOCKET_MAX]; /* the path for --control */
};

#define RUNTIME_DIR_NONE                          \
	{                                         \
		.base_fd = FD_NONE, .fd = FD_NONE \
	}

/*
 * name NULL: one after the command, with a number behind it where that is taken. user NULL: the
 * container runs as we do. SNAP_E_USAGE for a name that is taken or none; SNAP_E_PREFLIGHT where no
 * folder can be had, or none whose path is short enough for a socket.
 */
int runtime_dir_claim(const char *name, const char *command, const struct credentials *user,
		      struct runtime_dir *ret, struct snap_error *err);

/* the container has ended: the folder goes, the last one with the base; idempotent */
void runtime_dir_release(struct runtime_dir *dir);

/* fn gets the socket file of every name, an O_PATH descriptor that stays ours; stops at non-zero */
typedef int (*runtime_dir_fn)(const char *name, int socket_fd, void *arg);
int runtime_dir_each(runtime_dir_fn fn, void *arg);

/*
 * The same for the containers that other users have started, where root asks; nobody else is shown
 * any. Of /run/user/UID/snapinit and /tmp/snapinit-UID only what is UID's own counts, links and
 * mounts below them do not. Whoever listens there may be hostile: connect with a deadline.
 */
int runtime_dir_each_of_others(runtime_dir_fn fn, void *arg);

/*
 * The socket file of that name as an O_PATH descriptor, the caller's; one of ours comes before
 * those of others. -ENOENT: there is none; -ENOTUNIQ: several other users have one.
 */
int runtime_dir_open_socket(const char *name);

#endif
