/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_CONTROL_TARGET_H
#define SNAP_CLI_CONTROL_TARGET_H

/*
 * Which snapinit is meant: that of a container of snapctl's by its name, one by its pid here, one
 * by its socket; or, where nothing is said, that of the container that we are in, else the only one
 * that snapctl has started here.
 */

#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/init_options.h"

/* part of the verbs' option tables */
struct control_target {
	uint64_t pid; /* of a snapinit, as we see it; 0: not said */
	const char *name;
	const char *path; /* of the socket; with a pid in the container's eyes */
};

/* every verb that asks has them; `type` has a member `target` */
/* clang-format off */
#define CONTROL_TARGET_OPTIONS(type)                                                          \
	{"name", 'n', OPTION_STRING, offsetof(type, target.name), NULL, "NAME",               \
	 .help = "the container that snapctl run has started under that name"},               \
	{"pid", 'p', OPTION_UINT, offsetof(type, target.pid), NULL, "PID",                    \
	 .help = "the snapinit with that pid, not the one of this container"},                \
	{"socket", 0, OPTION_STRING, offsetof(type, target.path), "SNAPINIT_CONTROL", "PATH", \
	 "its control socket, not " INIT_OPTIONS_CONTROL, .value = OPTION_VALUE_FILE}
/* clang-format on */

/* a connection to it, the caller's to close, or -errno with err; never later than the deadline */
int control_target_connect(const struct control_target *target, uint64_t deadline_ns,
			   struct snap_error *err);

/*
 * A connection to the socket behind an O_PATH descriptor, or -errno: -ECONNREFUSED where nobody
 * listens any more. *ret_pid (may be NULL): who listens, 0 if we cannot see it.
 */
int control_target_connect_file(int socket_fd, uint64_t deadline_ns, pid_t *ret_pid);

#endif
