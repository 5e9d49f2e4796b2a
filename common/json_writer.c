/* SPDX-License-Identifier: Apache-2.0 */
#include "common/json_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/text.h"

#define ESCAPE_MAX 8

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

/* one character as it stands in a string; bytes of text that it takes */
static size_t escape(const char *text, char ret[ESCAPE_MAX], size_t *ret_size)
{
	size_t size = text_char_size(text);
	const unsigned char *bytes = (const unsigned char *)text;
	int n;

	if (size == 0) /* JSON is UTF-8: a byte that is none becomes U+FFFD */
		n = snprintf(ret, ESCAPE_MAX, "\\ufffd");
	else if (*text == '"' || *text == '\\')
		n = snprintf(ret, ESCAPE_MAX, "\\%c", *text);
	else if (*text == '\n')
		n = snprintf(ret, ESCAPE_MAX, "\\n");
	else if (text_char_is_control(text, size))
		n = snprintf(ret, ESCAPE_MAX, "\\u%04x", bytes[size - 1]);
	else
		n = snprintf(ret, ESCAPE_MAX, "%.*s", (int)size, text);
	*ret_size = (size_t)n;
	return size > 0 ? size : 1;
}

/* at most `max` bytes between the quotes; what is left out is marked by the last of them */
static void put_escaped(struct json_writer *w, const char *text, size_t max)
{
	const size_t mark_size = sizeof(JSON_CUT_MARK) - 1;
	size_t used = 0, cut_at = 0;
	bool is_cut = false;

	put_raw(w, "\"", 1);
	while (*text) {
		char bytes[ESCAPE_MAX];
		size_t size, taken = escape(text, bytes, &size);

		if (used + size > max) {
			is_cut = true;
			break;
		}
		put_raw(w, bytes, size);
		used += size;
		text += taken;
		if (used + mark_size <= max)
			cut_at = used;
	}
	if (is_cut && !w->full && max >= mark_size) {
		w->used -= used - cut_at;
		put_raw(w, JSON_CUT_MARK, mark_size);
	}
	put_raw(w, "\"", 1);
}

static void put_key(struct json_writer *w, const char *key)
{
	if (w->need_comma)
		put_raw(w, ",", 1);
	w->need_comma = true;
	if (key) {
		put_escaped(w, key, SIZE_MAX);
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
	put_escaped(w, value, SIZE_MAX);
}

void json_put_string_cut(struct json_writer *w, const char *key, const char *value, size_t max)
{
	put_key(w, key);
	put_escaped(w, value, max);
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
