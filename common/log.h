/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_LOG_H
#define SNAP_COMMON_LOG_H

/*
 * One record is one write(2) of at most 4 KiB: a JSON line, or text on a terminal. Nothing is
 * allocated, errno is kept, and a writer that cannot take the record at once never blocks us: the
 * record is dropped, counted, and the count told with the next record that fits.
 *
 * `event` is a stable name, noun.verb; docs/events.md lists them all.
 */

#include <stddef.h>
#include <stdint.h>

enum log_level {
	LOG_LEVEL_ERROR, /* someone must act */
	LOG_LEVEL_WARN,	 /* a fallback was taken */
	LOG_LEVEL_INFO,	 /* one line per phase */
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_MAX_,
};

enum log_format {
	LOG_FORMAT_AUTO, /* text on a terminal, else JSON */
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON,
};

struct log_field {
	const char *key;
	const char *text; /* NULL: value counts */
	uint64_t value;
};

#define LOG_TEXT(k, v) ((struct log_field){.key = (k), .text = (v)})
#define LOG_UINT(k, v) ((struct log_field){.key = (k), .value = (uint64_t)(v)})

/* comp must outlive the program ("snapinit"); fd stays the caller's */
void log_init(const char *comp, int fd, enum log_format format, enum log_level level);
void log_set_fd(int fd);
enum log_level log_level_get(void);
void log_set_level(enum log_level level);
const char *log_level_name(enum log_level level);

/* "error" … "debug"; -EINVAL for another word */
int log_level_parse(const char *word, enum log_level *ret);
int log_format_parse(const char *word, enum log_format *ret);

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n,
	       const char *fmt, ...) __attribute__((format(printf, 5, 6)));

#define log_error(event, ...) log_write(LOG_LEVEL_ERROR, (event), NULL, 0, __VA_ARGS__)
#define log_warn(event, ...)  log_write(LOG_LEVEL_WARN, (event), NULL, 0, __VA_ARGS__)
#define log_info(event, ...)  log_write(LOG_LEVEL_INFO, (event), NULL, 0, __VA_ARGS__)
#define log_debug(event, ...) log_write(LOG_LEVEL_DEBUG, (event), NULL, 0, __VA_ARGS__)

#endif
