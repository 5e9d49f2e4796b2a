/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/http_parser.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"

void http_parser_init(struct http_parser *p)
{
	memset(p, 0, sizeof(*p));
}

void http_parser_done(struct http_parser *p)
{
	free(p->body);
	memset(p, 0, sizeof(*p));
}

static bool is_body_state(enum http_parser_state state)
{
	return state == HTTP_PARSER_BODY_LENGTH || state == HTTP_PARSER_BODY_CLOSE ||
	       state == HTTP_PARSER_CHUNK_DATA;
}

static int body_append(struct http_parser *p, const char *data, size_t size, struct snap_error *err)
{
	size_t need = p->body_size + size + 1;

	if (size > HTTP_BODY_MAX - p->body_size)
		return snap_fail(err, SNAP_E_NOT_READY, EMSGSIZE, "answer is larger than %u bytes",
				 HTTP_BODY_MAX);
	if (need > p->body_room) {
		size_t room = p->body_room ? p->body_room : 4096;
		char *body;

		while (room < need)
			room *= 2;
		body = realloc(p->body, room);
		if (!body)
			return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory for the answer");
		p->body = body;
		p->body_room = room;
	}
	memcpy(p->body + p->body_size, data, size);
	p->body_size += size;
	p->body[p->body_size] = '\0';
	return 0;
}

/* "HTTP/1.1 200 OK"; the reason may be missing */
static int status_line_parse(struct http_parser *p, struct snap_error *err)
{
	const char *s = p->line;
	bool valid = strncmp(s, "HTTP/1.", 7) == 0 && isdigit((unsigned char)s[7]) && s[8] == ' ';
	int status = 0;

	for (int i = 9; valid && i < 12; i++) {
		valid = isdigit((unsigned char)s[i]);
		status = status * 10 + (s[i] - '0');
	}
	if (!valid || (s[12] != ' ' && s[12] != '\0') || status < 100)
		return snap_fail(err, SNAP_E_NOT_READY, EPROTO,
				 "answer is no HTTP/1 response; is this the right port?");
	p->status = status;
	p->state = HTTP_PARSER_FIELD;
	return 0;
}

static int length_parse(const char *text, uint64_t *ret)
{
	uint64_t n = 0;

	if (!isdigit((unsigned char)*text))
		return -EPROTO;
	for (; isdigit((unsigned char)*text); text++) {
		if (n > HTTP_BODY_MAX)
			return -EMSGSIZE;
		n = n * 10 + (uint64_t)(*text - '0');
	}
	if (*text != '\0')
		return -EPROTO;
	*ret = n;
	return n > HTTP_BODY_MAX ? -EMSGSIZE : 0;
}

static int field_parse(struct http_parser *p, struct snap_error *err)
{
	char *colon = strchr(p->line, ':'), *value, *end;

	if (!colon || colon == p->line || isspace((unsigned char)p->line[0]))
		return snap_fail(err, SNAP_E_NOT_READY, EPROTO, "malformed header field in answer");
	*colon = '\0';
	value = colon + 1;
	while (*value == ' ' || *value == '\t')
		value++;
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';

	if (strcasecmp(p->line, "Content-Length") == 0) {
		uint64_t length = 0;
		int r = length_parse(value, &length);

		if (r == -EMSGSIZE)
			return snap_fail(err, SNAP_E_NOT_READY, EMSGSIZE,
					 "answer is larger than %u bytes", HTTP_BODY_MAX);
		if (r < 0 || (p->has_length && p->left != length))
			return snap_fail(err, SNAP_E_NOT_READY, EPROTO,
					 "malformed Content-Length in answer");
		p->has_length = true;
		p->left = length;
	} else if (strcasecmp(p->line, "Transfer-Encoding") == 0) {
		if (strcasecmp(value, "chunked") != 0)
			return snap_fail(err, SNAP_E_NOT_READY, EPROTO,
					 "transfer encoding of the answer is not 'chunked'");
		p->is_chunked = true;
	}
	return 0;
}

static void head_finish(struct http_parser *p)
{
	if (p->status < 200) {
		p->has_length = p->is_chunked = false;
		p->left = 0;
		p->state = HTTP_PARSER_STATUS_LINE;
	} else if (p->status == 204 || p->status == 304) {
		p->state = HTTP_PARSER_COMPLETE;
	} else if (p->is_chunked) {
		p->state = HTTP_PARSER_CHUNK_SIZE;
	} else if (p->has_length) {
		p->state = p->left ? HTTP_PARSER_BODY_LENGTH : HTTP_PARSER_COMPLETE;
	} else {
		p->state = HTTP_PARSER_BODY_CLOSE;
	}
}

static int chunk_size_parse(struct http_parser *p, struct snap_error *err)
{
	const char *s = p->line;
	uint64_t n = 0;

	if (!isxdigit((unsigned char)*s))
		return snap_fail(err, SNAP_E_NOT_READY, EPROTO, "malformed chunk in answer");
	for (; isxdigit((unsigned char)*s); s++) {
		int digit = isdigit((unsigned char)*s) ? *s - '0' : (*s | 0x20) - 'a' + 10;

		n = n * 16 + (uint64_t)digit;
		if (n > HTTP_BODY_MAX)
			return snap_fail(err, SNAP_E_NOT_READY, EMSGSIZE,
					 "answer is larger than %u bytes", HTTP_BODY_MAX);
	}
	if (*s != '\0' && *s != ';' && *s != ' ' && *s != '\t')
		return snap_fail(err, SNAP_E_NOT_READY, EPROTO, "malformed chunk in answer");
	p->left = n;
	p->state = n ? HTTP_PARSER_CHUNK_DATA : HTTP_PARSER_TRAILER;
	return 0;
}

/* a line is in p->line, without its end */
static int line_finish(struct http_parser *p, struct snap_error *err)
{
	bool is_empty = p->line[0] == '\0';

	switch (p->state) {
	case HTTP_PARSER_STATUS_LINE:
		return status_line_parse(p, err);
	case HTTP_PARSER_FIELD:
		if (!is_empty)
			return field_parse(p, err);
		head_finish(p);
		return 0;
	case HTTP_PARSER_CHUNK_SIZE:
		return chunk_size_parse(p, err);
	case HTTP_PARSER_CHUNK_END:
		if (!is_empty)
			return snap_fail(err, SNAP_E_NOT_READY, EPROTO,
					 "chunk in answer is longer than it says");
		p->state = HTTP_PARSER_CHUNK_SIZE;
		return 0;
	case HTTP_PARSER_TRAILER:
		if (is_empty)
			p->state = HTTP_PARSER_COMPLETE;
		return 0;
	case HTTP_PARSER_BODY_LENGTH:
	case HTTP_PARSER_BODY_CLOSE:
	case HTTP_PARSER_CHUNK_DATA:
	case HTTP_PARSER_COMPLETE:
		break;
	}
	return snap_fail(err, SNAP_E_INTERNAL, EPROTO, "line outside of head and framing");
}

static int count_line_bytes(struct http_parser *p, size_t n, struct snap_error *err)
{
	bool is_head = p->state == HTTP_PARSER_STATUS_LINE || p->state == HTTP_PARSER_FIELD;
	size_t *count = is_head ? &p->head_bytes : &p->framing_bytes;

	*count += n;
	if (*count > (is_head ? HTTP_HEAD_MAX : HTTP_FRAMING_MAX))
		return snap_fail(err, SNAP_E_NOT_READY, EMSGSIZE, "%s of the answer is too large",
				 is_head ? "header" : "chunk framing");
	return 0;
}

/* take a line or a part of one; *ret_taken bytes are used up */
static int line_feed(struct http_parser *p, const char *data, size_t size, size_t *ret_taken,
		     struct snap_error *err)
{
	const char *newline = memchr(data, '\n', size);
	size_t n = newline ? (size_t)(newline - data) : size;
	int r;

	*ret_taken = newline ? n + 1 : n;
	r = count_line_bytes(p, *ret_taken, err);
	if (r < 0)
		return r;
	if (n >= sizeof(p->line) - p->line_used)
		return snap_fail(err, SNAP_E_NOT_READY, EMSGSIZE,
				 "answer holds a header line of more than %zu bytes",
				 sizeof(p->line) - 1);
	memcpy(p->line + p->line_used, data, n);
	p->line_used += n;
	if (!newline)
		return 0;

	if (p->line_used > 0 && p->line[p->line_used - 1] == '\r')
		p->line_used--;
	p->line[p->line_used] = '\0';
	if (memchr(p->line, '\0', p->line_used))
		return snap_fail(err, SNAP_E_NOT_READY, EPROTO, "answer is no HTTP/1 response");
	p->line_used = 0;
	return line_finish(p, err);
}

static int body_feed(struct http_parser *p, const char *data, size_t size, size_t *ret_taken,
		     struct snap_error *err)
{
	bool is_bounded = p->state != HTTP_PARSER_BODY_CLOSE;
	size_t n = is_bounded && p->left < size ? (size_t)p->left : size;
	int r = body_append(p, data, n, err);

	*ret_taken = n;
	if (r < 0 || !is_bounded)
		return r;
	p->left -= n;
	if (p->left == 0)
		p->state = p->state == HTTP_PARSER_CHUNK_DATA ? HTTP_PARSER_CHUNK_END
							      : HTTP_PARSER_COMPLETE;
	return 0;
}

int http_parser_feed(struct http_parser *p, const char *data, size_t size, struct snap_error *err)
{
	while (size > 0 && p->state != HTTP_PARSER_COMPLETE) {
		size_t taken = 0;
		int r = is_body_state(p->state) ? body_feed(p, data, size, &taken, err)
						: line_feed(p, data, size, &taken, err);

		if (r < 0)
			return r;
		data += taken;
		size -= taken;
	}
	return p->state == HTTP_PARSER_COMPLETE ? HTTP_PARSER_IS_COMPLETE : 0;
}

int http_parser_feed_end(struct http_parser *p, struct snap_error *err)
{
	if (p->state == HTTP_PARSER_BODY_CLOSE)
		p->state = HTTP_PARSER_COMPLETE;
	if (p->state == HTTP_PARSER_COMPLETE)
		return 0;
	if (p->state == HTTP_PARSER_STATUS_LINE && p->line_used == 0)
		return snap_fail(err, SNAP_E_NOT_READY, EPROTO,
				 "connection closed without an answer");
	return snap_fail(err, SNAP_E_NOT_READY, EPROTO, "connection closed in mid-answer");
}
