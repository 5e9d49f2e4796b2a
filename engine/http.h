/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_HTTP_H
#define SNAP_ENGINE_HTTP_H

/*
 * One HTTP/1.1 request over a connection of its own. When it returns, our end is closed, and
 * after a complete answer the engine's end as well unless the engine refuses to: a connection
 * that lingers in the engine could not be dumped. Redirects are not followed.
 */

#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/error.h"
#include "engine/engine.h"

/* "Bearer " and a key */
#define HTTP_AUTHORIZATION_MAX 2048

struct http_response {
	int status;
	char *body; /* owned, NUL-terminated, never NULL after a success */
	size_t body_size;
};

void http_response_done(struct http_response *response);

#define snap_cleanup_http_response snap_cleanup(http_response_done)

/*
 * authorization is the value of that header field, NULL for none. 0 for any status, or -errno
 * with a message that begins with method and URL: -ECONNREFUSED, -ECONNRESET, -ETIMEDOUT,
 * -EPROTO, -EMSGSIZE …
 */
int http_exchange(const struct engine_request *request, const char *authorization,
		  uint64_t deadline_ns, struct http_response *ret, struct snap_error *err);

/* "GET http://127.0.0.1:80/x", for messages */
#define HTTP_NAME_MAX 640
void http_request_name(const struct engine_request *request, char buf[HTTP_NAME_MAX]);

/* fail with status and the beginning of the body */
int http_fail_status(const struct engine_request *request, const struct http_response *response,
		     struct snap_error *err);

#endif
