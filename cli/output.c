/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/progress.h"
#include "common/cleanup.h"
#include "common/text.h"

#define TAIL_MAX 16 /* a colour and the newline */

static bool is_quiet;
static bool is_json;

void output_set_quiet(bool quiet)
{
	is_quiet = quiet;
}

void output_set_json(bool json)
{
	is_json = json;
}

bool output_is_quiet(void)
{
	return is_quiet;
}

bool output_is_terminal(int fd)
{
	const char *term = getenv("TERM");

	return isatty(fd) == 1 && term && term[0] && strcmp(term, "dumb") != 0;
}

const char *output_colour(int fd, enum output_colour colour)
{
	static const char *const sequences[OUTPUT_COLOUR_MAX_] = {
		[OUTPUT_PLAIN] = "\033[0m",
		[OUTPUT_RED] = "\033[31m",
		[OUTPUT_GREEN] = "\033[32m",
		[OUTPUT_YELLOW] = "\033[33m",
	};
	const char *no = getenv("NO_COLOR");

	return (no && no[0]) || !output_is_terminal(fd) ? "" : sequences[colour];
}

/*
 * One write a line, so that lines of others do not come in between. Our own colours stand in mark
 * and tail; the text names what others have named.
 */
__attribute__((format(printf, 3, 0))) static void put_line(const char *mark, const char *tail,
							   const char *fmt, va_list ap)
{
	char line[2048];
	size_t used = (size_t)snprintf(line, sizeof(line), "snapctl: %s", mark);

	(void)vsnprintf(line + used, sizeof(line) - used - TAIL_MAX, fmt, ap);
	text_make_printable(line + used);
	used = strlen(line);
	used += (size_t)snprintf(line + used, TAIL_MAX, "%s\n", tail);
	progress_pause();
	(void)fwrite(line, 1, used, stderr);
	progress_resume();
}

void output_progress(const char *fmt, ...)
{
	va_list ap;

	if (is_quiet)
		return;
	va_start(ap, fmt);
	put_line("", "", fmt, ap);
	va_end(ap);
}

void output_warning(const char *fmt, ...)
{
	va_list ap;

	char mark[64];

	(void)snprintf(mark, sizeof(mark), "%swarning:%s ",
		       output_colour(STDERR_FILENO, OUTPUT_YELLOW),
		       output_colour(STDERR_FILENO, OUTPUT_PLAIN));
	va_start(ap, fmt);
	put_line(mark, "", fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 2, 3))) static void put_failure(const char *mark, const char *fmt,
							      ...)
{
	va_list ap;

	va_start(ap, fmt);
	put_line(mark, output_colour(STDERR_FILENO, OUTPUT_PLAIN), fmt, ap);
	va_end(ap);
}

static const char *message_of(const struct snap_error *err)
{
	return err->msg[0] ? err->msg : snap_code_name(err->code);
}

void output_failure_line(const char *verb, const struct snap_error *err)
{
	char mark[64];

	(void)snprintf(mark, sizeof(mark), "%s%s%s", verb ? verb : "", verb ? ": " : "",
		       output_colour(STDERR_FILENO, OUTPUT_RED));
	put_failure(mark, "%s", message_of(err));
}

int output_failure(const char *verb, const struct snap_error *err)
{
	enum snap_code code = err->code == SNAP_OK ? SNAP_E_INTERNAL : err->code;

	output_failure_line(verb, err);
	if (is_json)
		(void)output_json(json_pack("{s:s, s:s?, s:s, s:s}", "schema", "snapctl.error/v1",
					    "verb", verb, "code", snap_code_name(code), "message",
					    message_of(err)),
				  NULL);
	return snap_code_exit_status(code);
}

int output_json(json_t *value, struct snap_error *err)
{
	int r = value ? json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) : -1;

	json_decref(value);
	if (r < 0)
		return snap_fail_plain(err, SNAP_E_INTERNAL, EIO, "cannot write the result");
	(void)fputc('\n', stdout);
	return 0;
}

int output_finish(struct snap_error *err)
{
	if (fflush(stdout) == EOF || ferror(stdout))
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot write the result");
	return 0;
}

const char *output_size(uint64_t bytes, char buf[OUTPUT_SIZE_MAX])
{
	static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	size_t unit = 0;

	if (bytes < 1024) {
		(void)snprintf(buf, OUTPUT_SIZE_MAX, "%" PRIu64 " B", bytes);
		return buf;
	}
	/* 1023.95 would be printed as 1024.0 */
	while (value >= 1023.95 && unit + 1 < ARRAY_LEN(units)) {
		value /= 1024;
		unit++;
	}
	(void)snprintf(buf, OUTPUT_SIZE_MAX, "%.1f %s", value, units[unit]);
	return buf;
}

const char *output_duration(uint64_t ms, char buf[OUTPUT_SIZE_MAX])
{
	if (ms < 10000)
		(void)snprintf(buf, OUTPUT_SIZE_MAX, "%" PRIu64 " ms", ms);
	else
		(void)snprintf(buf, OUTPUT_SIZE_MAX, "%" PRIu64 ".%" PRIu64 " s", ms / 1000,
			       ms % 1000 / 100);
	return buf;
}

void output_shell_word(const char *word, char *buf, size_t size)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_@%+=:,./-";
	size_t used = 0;

	if (word[0] && strspn(word, plain) == strlen(word)) {
		(void)snprintf(buf, size, "%s", word);
		return;
	}
	buf[used++] = '\'';
	for (const char *p = word; *p && used + 6 < size; p++) {
		if (*p == '\'') {
			memcpy(buf + used, "'\\''", 4);
			used += 4;
		} else {
			buf[used++] = (char)((*p >= ' ' && *p != 0x7f) || *p == '\t' ? *p : '?');
		}
	}
	buf[used++] = '\'';
	buf[used] = '\0';
}
