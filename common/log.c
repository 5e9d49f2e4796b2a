/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/json_writer.h"
#include "common/text.h"

#define RECORD_MAX   4096 /* PIPE_BUF: one record stays whole in a pipe */
#define MESSAGE_SURE 512  /* fits even if every byte is written as six */

static struct {
	const char *comp;
	int fd;
	bool json;
	enum log_level level;
	uint64_t dropped;
} log_state = {.comp = "snapinit", .fd = STDERR_FILENO, .level = LOG_LEVEL_INFO};

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

_Static_assert(sizeof(level_names) / sizeof(level_names[0]) == LOG_LEVEL_MAX_, "one name a level");

void log_init(const char *comp, int fd, enum log_format format, enum log_level level)
{
	struct tm tm;

	log_state.comp = comp;
	log_state.fd = fd;
	log_state.level = level;
	log_state.json = format == LOG_FORMAT_JSON || (format == LOG_FORMAT_AUTO && !isatty(fd));

	/* the C library reads the time zone, and allocates, at the first use: let that be now */
	(void)gmtime_r(&(time_t){0}, &tm);
}

void log_set_fd(int fd)
{
	log_state.fd = fd;
}

enum log_level log_level_get(void)
{
	return log_state.level;
}

void log_set_level(enum log_level level)
{
	log_state.level = level;
}

const char *log_level_name(enum log_level level)
{
	return (unsigned int)level < LOG_LEVEL_MAX_ ? level_names[level] : "unknown";
}

int log_level_parse(const char *word, enum log_level *ret)
{
	for (int i = 0; i < LOG_LEVEL_MAX_; i++) {
		if (strcmp(word, level_names[i]) == 0) {
			*ret = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

int log_format_parse(const char *word, enum log_format *ret)
{
	if (strcmp(word, "auto") == 0)
		*ret = LOG_FORMAT_AUTO;
	else if (strcmp(word, "text") == 0)
		*ret = LOG_FORMAT_TEXT;
	else if (strcmp(word, "json") == 0)
		*ret = LOG_FORMAT_JSON;
	else
		return -EINVAL;
	return 0;
}

static size_t format_json(char *buf, size_t size, enum log_level level, const char *event,
			  const struct log_field *fields, size_t n, const char *msg)
{
	struct json_writer w;
	struct timespec now;
	struct tm tm;
	char day[32], ts[64];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &tm);
	(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(ts, sizeof(ts), "%s.%06ldZ", day, now.tv_nsec / 1000);

	json_writer_init(&w, buf, size - 1);
	json_open_object(&w, NULL);
	json_put_string(&w, "ts", ts);
	json_put_string(&w, "level", level_names[level]);
	json_put_string(&w, "comp", log_state.comp);
	json_put_string(&w, "event", event);
	for (size_t i = 0; i < n; i++) {
		if (fields[i].text)
			json_put_string(&w, fields[i].key, fields[i].text);
		else
			json_put_uint(&w, fields[i].key, fields[i].value);
	}
	if (log_state.dropped > 0)
		json_put_uint(&w, "dropped", log_state.dropped);
	json_put_string(&w, "msg", msg);
	json_close_object(&w);
	if (w.full)
		return 0;
	w.buf[w.used++] = '\n';
	return w.used;
}

static size_t format_text(char *buf, size_t size, enum log_level level,
			  const struct log_field *fields, size_t n, const char *msg)
{
	int used = snprintf(buf, size, "%s: %s%s%s", log_state.comp,
			    level <= LOG_LEVEL_WARN ? level_names[level] : "",
			    level <= LOG_LEVEL_WARN ? ": " : "", msg);

	for (size_t i = 0; i < n && used > 0 && (size_t)used < size; i++) {
		if (fields[i].text)
			used += snprintf(buf + used, size - (size_t)used, " %s=%s", fields[i].key,
					 fields[i].text);
		else
			used += snprintf(buf + used, size - (size_t)used, " %s=%" PRIu64,
					 fields[i].key, fields[i].value);
	}
	if (used < 0)
		return 0;
	if ((size_t)used > size - 2)
		used = (int)size - 2;
	buf[used] = '\0';
	text_make_printable(buf); /* names and paths are whoever's */
	buf[used++] = '\n';
	return (size_t)used;
}

void log_write(enum log_level level, const char *event, const struct log_field *fields, size_t n,
	       const char *fmt, ...)
{
	char msg[2048], record[RECORD_MAX];
	struct pollfd pfd = {.fd = log_state.fd, .events = POLLOUT};
	int saved = errno;
	size_t size;
	va_list ap;

	if (level > log_state.level || log_state.fd < 0)
		return;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);

	size = log_state.json ? format_json(record, sizeof(record), level, event, fields, n, msg)
			      : 0;
	if (size == 0 && log_state.json) { /* too long with its fields: keep what surely fits */
		msg[MESSAGE_SURE] = '\0';
		size = format_json(record, sizeof(record), level, event, NULL, 0, msg);
	}
	if (size == 0)
		size = format_text(record, sizeof(record), level, fields, n, msg);

	if (poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLOUT) &&
	    write(log_state.fd, record, size) == (ssize_t)size)
		log_state.dropped = 0;
	else
		log_state.dropped++;
	errno = saved;
}
