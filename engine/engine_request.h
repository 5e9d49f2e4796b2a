/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_ENGINE_REQUEST_H
#define SNAP_ENGINE_ENGINE_REQUEST_H

/* What adapters and engine_init() need beyond the parse and format of engine/engine.h. */

#include <stddef.h>

#include "engine/engine.h"

/* set host, port and path; method and body stay. 0 or -EINVAL */
int engine_request_set_url(struct engine_request *request, const char *url, size_t size,
			   struct snap_error *err);

#endif
