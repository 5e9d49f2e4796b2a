/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_CONTROL_CLIENT_H
#define SNAP_CLI_CONTROL_CLIENT_H

/*
 * Asking a snapinit on its control socket (docs/control.md). What it answers is bounded in bytes
 * and in time and, as a container may not be trusted, never shown raw.
 */

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/control_target.h"
#include "common/error.h"

#define CONTROL_PATIENCE_MS 5000 /* for an answer, from connecting to its last byte */

/*
 * One question, one answer: an object, the caller's to release. An answer that holds "error" is a
 * failure with that text and the code that it tells. Not later than the deadline.
 */
int control_ask(const struct control_target *target, const char *question, uint64_t deadline_ns,
		json_t **ret_answer, struct snap_error *err);

#define CONTROL_TEXT_MAX 1024

/* a string, or a string member, without what a terminal could obey; "" where there is none */
const char *control_clean(const json_t *string, char buf[CONTROL_TEXT_MAX]);
const char *control_text(const json_t *object, const char *key, char buf[CONTROL_TEXT_MAX]);

#endif
