/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_HOST_H
#define SNAP_CLI_HOST_H

/* This machine as the gate sees it: rights, kernel, processor, and the CRIU that would be used. */

#include <stdbool.h>

#include "common/error.h"
#include "snapshot/criu/program.h"
#include "snapshot/manifest.h"

struct host {
	bool has_criu; /* found, and it answered */
	struct criu_program program;
	char criu_version[32];
	struct snap_error criu_err; /* why not */
	struct fingerprint fingerprint;
};

/* criu NULL: search. A missing CRIU is no failure, see has_criu */
int host_take(const char *criu, struct host *ret, struct snap_error *err);
void host_done(struct host *host);

#endif
