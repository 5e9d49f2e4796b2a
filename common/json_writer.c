/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void json_writer_init(struct json_writer *w, char *buf, size_t size)
{
	*w = (struct json_writer){.buf = buf, .size = size};
	if (size > 0)
		buf[0] = '\0';
}

static void put_raw(struct json_writer *w, const char *text, size_t n)
{
	if (w->full || w->used + n + 1 > w->size) {
		w->full = true;
		return;
	}
	memcpy(w->buf + w->used, text, n);
	w->used += n;
	w->buf[w->used] = '\0';
}

static void put_escaped(struct json_writer *w, const char *text)
{
	put_raw(w, "\"", 1);
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		char esc[8];

		if (*p == '"' || *p == '\\') {
			esc[0] = '\\';
			esc[1] = (char)*p;
			put_raw(w, esc, 2);
		} else if (*p == '\n') {
			put_raw(w, "\\n", 2);
		} else if (*p < 0x20 || *p == 0x7f) {
			(void)snprintf(esc, sizeof(esc), "\\u%04x", *p);
			put_raw(w, esc, 6);
		} else {
			put_raw(w, (const char *)p, 1);
		}
	}
	put_raw(w, "\"", 1);
}

static void put_key(struct json_writer *w, const char *key)
{
	if (w->need_comma)
		put_raw(w, ",", 1);
	w->need_comma = true;
	if (key) {
		put_escaped(w, key);
		put_raw(w, ":", 1);
	}
}

static void open_with(struct json_writer *w, const char *key, const char *bracket)
{
	put_key(w, key);
	put_raw(w, bracket, 1);
	w->need_comma = false;
}

static void close_with(struct json_writer *w, const char *bracket)
{
	put_raw(w, bracket, 1);
	w->need_comma = true;
}

void json_open_object(struct json_writer *w, const char *key)
{
	open_with(w, key, "{");
}

void json_close_object(struct json_writer *w)
{
	close_with(w, "}");
}

void json_open_array(struct json_writer *w, const char *key)
{
	open_with(w, key, "[");
}

void json_close_array(struct json_writer *w)
{
	close_with(w, "]");
}

void json_put_string(struct json_writer *w, const char *key, const char *value)
{
	put_key(w, key);
	put_escaped(w, value);
}

void json_put_uint(struct json_writer *w, const char *key, uint64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRIu64, value);

	put_key(w, key);
	put_raw(w, text, (size_t)n);
}

void json_put_int(struct json_writer *w, const char *key, int64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRId64, value);

	put_key(w, key);
	put_raw(w, text, (size_t)n);
}

void json_put_bool(struct json_writer *w, const char *key, bool value)
{
	put_key(w, key);
	put_raw(w, value ? "true" : "false", value ? 4 : 5);
}
