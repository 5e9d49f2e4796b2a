/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_HTTP_PARSER_H
#define SNAP_ENGINE_HTTP_PARSER_H

/*
 * One HTTP/1.x response, fed in pieces of any size: status, and a body that ends by
 * Content-Length, by its last chunk, or with the connection. What the peer sends is bounded
 * before it is kept. Interim (1xx) responses are passed over; header fields that do not bear on
 * the length are not kept.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

/* head of the response: far above what servers send, far below what hurts */
#define HTTP_HEAD_MAX (64U << 10)
#define HTTP_LINE_MAX (8U << 10)

/* an oracle's answer is kept in the manifest */
#define HTTP_BODY_MAX (1U << 20)

/* chunk sizes, extensions and trailers: 1 MiB in chunks of one byte is a bad server, no attack */
#define HTTP_FRAMING_MAX (8U << 20)

enum http_parser_state {
	HTTP_PARSER_STATUS_LINE,
	HTTP_PARSER_FIELD,
	HTTP_PARSER_BODY_LENGTH,
	HTTP_PARSER_BODY_CLOSE,
	HTTP_PARSER_CHUNK_SIZE,
	HTTP_PARSER_CHUNK_DATA,
	HTTP_PARSER_CHUNK_END,
	HTTP_PARSER_TRAILER,
	HTTP_PARSER_COMPLETE,
};

struct http_parser {
	enum http_parser_state state;
	int status;
	bool has_length;
	bool is_chunked;
	uint64_t left; /* of the body or of the chunk at hand */
	size_t head_bytes;
	size_t framing_bytes;
	size_t line_used;
	char line[HTTP_LINE_MAX];
	char *body; /* NUL-terminated; NULL while nothing has come */
	size_t body_size;
	size_t body_room;
};

void http_parser_init(struct http_parser *p);
void http_parser_done(struct http_parser *p);

/* outcome of http_parser_feed(): the response is complete; what follows in data is not ours */
#define HTTP_PARSER_IS_COMPLETE 1

/*
 * 0 for more please, HTTP_PARSER_IS_COMPLETE, -EPROTO for what is no HTTP, -EMSGSIZE above a
 * limit, -ENOMEM. After an error only http_parser_done() makes sense.
 */
int http_parser_feed(struct http_parser *p, const char *data, size_t size, struct snap_error *err);

/* the peer closed: 0 when that is where the response ends, else -EPROTO */
int http_parser_feed_end(struct http_parser *p, struct snap_error *err);

#endif
