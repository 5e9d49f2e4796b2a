/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_ENGINE_ASK_H
#define SNAP_ENGINE_ENGINE_ASK_H

/* Requests to an engine in the name of its adapter. */

#include "engine/engine.h"
#include "engine/http.h"

/* buf is empty where no key is due; wipe it after use */
int engine_authorize(const struct engine *engine, const struct engine_request *request,
		     char buf[HTTP_AUTHORIZATION_MAX], struct snap_error *err);

/*
 * Ask with the adapter's key: 0 for a status from 200 to 299, -EAGAIN for 503 ("still loading"),
 * -ENOENT for 404, -EIO for
 * another one, or -errno.
 */
int engine_ask(const struct engine *engine, const struct engine_request *request,
	       uint64_t deadline_ns, struct http_response *ret, struct snap_error *err);

/* sleep between two tries; start_ns is when the first one began */
void engine_pause(uint64_t start_ns, uint64_t deadline_ns);

#endif
