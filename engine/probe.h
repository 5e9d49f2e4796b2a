/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_PROBE_H
#define SNAP_ENGINE_PROBE_H

/*
 * One look at an engine: does it answer? 0 yes; PROBE_NOT_YET, with what was seen in err;
 * negative errno for what waiting will not change.
 */

#include <stdint.h>

#include "common/error.h"
#include "engine/engine.h"

#define PROBE_NOT_YET 1

/* yes is a status from 200 to 399; authorization as in http_exchange() */
int probe_http(const struct engine_request *request, const char *authorization,
	       uint64_t deadline_ns, struct snap_error *err);

/* yes is an accepted connection */
int probe_tcp(const char *host, int port, uint64_t deadline_ns, struct snap_error *err);

/* /bin/sh -c COMMAND, with /dev/null as stdio; yes is exit status 0. Killed at the deadline */
int probe_exec(const char *command, uint64_t deadline_ns, struct snap_error *err);

#endif
