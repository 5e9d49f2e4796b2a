/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_CONTROL_H
#define SNAP_INIT_CONTROL_H

/*
 * The socket on which PID 1 can be asked: a line of text in, a line of JSON out, and the
 * connection ends (docs/control.md). Only root and the user that we run as are heard. Nothing is
 * allocated, and nobody can hold us up: of more connections than there is room for, the oldest is
 * dropped, and an answer that does not fit into the socket at once is lost.
 */

#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "common/error.h"
#include "common/json_writer.h"
#include "common/loop.h"

#define CONTROL_CLIENTS_MAX 4
#define CONTROL_LINE_MAX    128 /* bytes of a request, with its newline */
#define CONTROL_REPLY_MAX   16384

/* writes the members of one object: what is asked, and the word behind it ("" where there is none)
 */
typedef void (*control_fn)(void *owner, const char *verb, const char *word,
			   struct json_writer *reply);

struct control_client {
	struct control *control;
	struct loop_source source;
	int fd; /* FD_NONE: free */
	uint64_t since;
	char line[CONTROL_LINE_MAX];
	unsigned int used;
};

struct control {
	struct loop *loop;
	struct loop_source source;
	int fd; /* FD_NONE: nobody listens */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	dev_t device; /* of the socket's file: another one in its place is not ours */
	ino_t inode;
	struct control_client clients[CONTROL_CLIENTS_MAX];
	uint64_t n_accepted;
	uint64_t n_refused; /* since it was told */
	uint64_t refused_quiet_until;
	control_fn answer;
	void *owner;
};

/* path: absolute. 0 or -errno, then control->fd is FD_NONE and control_done() still right */
int control_init(struct control *control, struct loop *loop, const char *path, int priority,
		 control_fn answer, void *owner, struct snap_error *err);

/* descriptors in use, for who closes all others; how many */
unsigned int control_fds(const struct control *control, int ret[CONTROL_CLIENTS_MAX + 1]);

/* the socket's file is removed if it is still ours; idempotent */
void control_done(struct control *control);

#endif
