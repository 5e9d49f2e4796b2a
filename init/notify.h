/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_NOTIFY_H
#define SNAP_INIT_NOTIFY_H

/*
 * The two ways an engine can say by itself that it is ready: a newline on a descriptor (s6), or
 * READY=1 sent to NOTIFY_SOCKET (systemd). What it sends to NOTIFY_SOCKET goes on to the socket
 * that we were given ourselves, if any.
 */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/error.h"
#include "common/init_options.h"

struct notify {
	enum ready_kind kind;
	int fd;		/* to be read by us: pipe end or datagram socket */
	int engine_end; /* READY_FD: pipe end for the engine, ours until it is started */
	int up_fd;	/* datagram socket towards upstream */
	struct sockaddr_un upstream;
	socklen_t upstream_len; /* 0: nobody to tell */
	char variable[80];	/* READY_NOTIFY: "NOTIFY_SOCKET=@snapinit-…" for the engine */
};

/* outcomes of notify_read() */
#define NOTIFY_READY 1
#define NOTIFY_END   2 /* nothing more will come */

/* upstream: value of NOTIFY_SOCKET as we got it, or NULL */
int notify_init(struct notify *notify, enum ready_kind kind, const char *upstream,
		struct snap_error *err);
void notify_done(struct notify *notify);

/* the engine has its end now */
void notify_close_engine_end(struct notify *notify);

/* after fd became readable: 0, NOTIFY_READY, NOTIFY_END, or -errno */
int notify_read(struct notify *notify);

bool notify_has_upstream(const struct notify *notify);

/* tell upstream, if there is one, that the service is ready */
void notify_tell_ready(struct notify *notify);

/* does a notify message hold this line? */
bool notify_has_line(const char *text, const char *line);

#endif
