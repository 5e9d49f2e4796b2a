/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_JSON_WRITER_H
#define SNAP_COMMON_JSON_WRITER_H

/*
 * JSON text into a buffer of the caller's, for log records and small answers. Never allocates; a
 * full buffer is remembered in `full` and the text stays NUL-terminated but is then no JSON.
 * Commas are put by the writer. What it writes is UTF-8, whatever strings hold, and without control
 * characters: a byte that is no UTF-8 becomes U+FFFD.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_writer {
	char *buf;
	size_t size;
	size_t used;
	bool need_comma;
	bool full;
};

void json_writer_init(struct json_writer *w, char *buf, size_t size);

/* key may be NULL for array elements and the outermost object */
void json_open_object(struct json_writer *w, const char *key);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w, const char *key);
void json_close_array(struct json_writer *w);
void json_put_string(struct json_writer *w, const char *key, const char *value);

/* at most `max` bytes of it, escapes counted; where something is left out the mark ends it */
#define JSON_CUT_MARK "\xe2\x80\xa6" /* U+2026, three dots */
void json_put_string_cut(struct json_writer *w, const char *key, const char *value, size_t max);

void json_put_uint(struct json_writer *w, const char *key, uint64_t value);
void json_put_int(struct json_writer *w, const char *key, int64_t value);
void json_put_bool(struct json_writer *w, const char *key, bool value);

#endif
