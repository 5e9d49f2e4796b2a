/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_CONTROL_CLIENT_H
#define SNAP_CLI_CONTROL_CLIENT_H

/*
 * Asking a snapinit on its control socket (docs/control.md): that of this container, or that of
 * another one by its pid here. What it answers is bounded and, as a container may not be trusted,
 * never shown raw.
 */

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "common/init_options.h"

/* whom to ask; part of the verbs' option tables */
struct control_target {
	uint64_t pid;	  /* of a snapinit, as we see it; 0: this container's */
	const char *path; /* of the socket, in the container's eyes; NULL: the usual one */
};

/* every verb that asks has them; `type` has a member `target` */
/* clang-format off */
#define CONTROL_TARGET_OPTIONS(type)                                                          \
	{"pid", 'p', OPTION_UINT, offsetof(type, target.pid), NULL, "PID",                    \
	 .help = "the snapinit with that pid, not the one of this container"},                \
	{"socket", 0, OPTION_STRING, offsetof(type, target.path), "SNAPINIT_CONTROL", "PATH", \
	 "its control socket", .initial = INIT_OPTIONS_CONTROL, .value = OPTION_VALUE_FILE}
/* clang-format on */

/*
 * One question, one answer: an object, the caller's to release. An answer that holds "error" is a
 * failure with that text and the code that it tells.
 */
int control_ask(const struct control_target *target, const char *question, json_t **ret_answer,
		struct snap_error *err);

#define CONTROL_TEXT_MAX 1024

/* a string, or a string member, without what a terminal could obey; "" where there is none */
const char *control_clean(const json_t *string, char buf[CONTROL_TEXT_MAX]);
const char *control_text(const json_t *object, const char *key, char buf[CONTROL_TEXT_MAX]);

#endif
