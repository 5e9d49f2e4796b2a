/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_OUTPUT_H
#define SNAP_CLI_OUTPUT_H

/*
 * Results go to stdout, as text or as one JSON object; everything else goes to stderr. JSON has
 * its keys in a fixed order with "schema" first, so that equal results are equal bytes.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/* progress is silent from here on */
void output_set_quiet(bool quiet);
bool output_is_quiet(void);

/* results are wanted as JSON: output_failure() then prints one too */
void output_set_json(bool json);

/* a terminal on which a line can be written over */
bool output_is_terminal(int fd);

/* escape sequences for such a one, empty elsewhere and with NO_COLOR; OUTPUT_PLAIN ends a colour */
enum output_colour {
	OUTPUT_PLAIN,
	OUTPUT_RED,
	OUTPUT_GREEN,
	OUTPUT_YELLOW,
	OUTPUT_COLOUR_MAX_,
};

const char *output_colour(int fd, enum output_colour colour);

/* one line on stderr, "snapctl: …" */
void output_progress(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void output_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* "snapctl: VERB: text" on stderr */
void output_failure_line(const char *verb, const struct snap_error *err);

/* the same, as JSON too when that is wanted; the exit status for its code */
int output_failure(const char *verb, const struct snap_error *err);

/* print and release value, which may be NULL (no memory); 0 or -errno */
int output_json(json_t *value, struct snap_error *err);

/* flush stdout; -errno when the result did not get out (disk full, closed pipe) */
int output_finish(struct snap_error *err);

/* "2.1 MiB", "817 B" */
#define OUTPUT_SIZE_MAX 24
const char *output_size(uint64_t bytes, char buf[OUTPUT_SIZE_MAX]);

/* "340 ms", "12.3 s" */
const char *output_duration(uint64_t ms, char buf[OUTPUT_SIZE_MAX]);

/* a word as a POSIX shell would need it: bare, or in single quotes */
void output_shell_word(const char *word, char *buf, size_t size);

#endif
