/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/progress.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/text.h"

static const char record_start[] = "{\"ts\":\"";

#define START_SIZE (sizeof(record_start) - 1)

int relay_open(struct relay *relay, int out_fd, int *ret_write_end, struct snap_error *err)
{
	int pipe_fds[2];

	*relay = (struct relay){.fd = FD_NONE, .out_fd = out_fd};
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make a pipe");
	relay->fd = pipe_fds[0];
	(void)fd_set_nonblock(relay->fd, true);
	*ret_write_end = pipe_fds[1];
	return 0;
}

static void put(const struct relay *relay, const char *bytes, size_t n)
{
	if (relay->out_fd >= 0 && n > 0) {
		progress_pause();
		(void)io_write_full(relay->out_fd, bytes, n);
		progress_resume();
	}
}

static const char *text_of(const json_t *record, const char *key)
{
	const char *text = json_string_value(json_object_get(record, key));

	return text ? text : "";
}

/* events that end an attempt; `code` is their code where the record has none */
static const struct {
	const char *event;
	enum snap_code code;
} failures[] = {
	{"capture.failed", SNAP_E_DUMP},
	{"wake.failed", SNAP_E_RESTORE},
	{"wake.refused", SNAP_E_INCOMPATIBLE},
	{"boot.failed", SNAP_E_USAGE},
};

static void note(struct relay *relay, const json_t *record)
{
	const char *event = text_of(record, "event"), *code = text_of(record, "code");

	for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
		struct snap_error *failure = &relay->news.failure;

		if (strcmp(event, failures[i].event) != 0)
			continue;
		failure->code = code[0] ? snap_code_named(code) : failures[i].code;
		(void)snprintf(failure->msg, sizeof(failure->msg), "%s", text_of(record, "msg"));
	}
	if (strcmp(event, "capture.done") == 0)
		relay->news.captured = true;
	if (strcmp(event, "wake.done") == 0)
		relay->news.wake_ms =
			(uint64_t)json_integer_value(json_object_get(record, "dur_ms"));
	if (relay->on_event)
		relay->on_event(event, relay->arg);
}

static void put_as_text(const struct relay *relay, const json_t *record)
{
	const char *level = text_of(record, "level");
	char line[RELAY_RECORD_MAX];
	bool is_loud = strcmp(level, "error") == 0 || strcmp(level, "warn") == 0;
	size_t n;

	(void)snprintf(line, sizeof(line) - 1, "%s: %s%s%s", text_of(record, "comp"),
		       is_loud ? level : "", is_loud ? ": " : "", text_of(record, "msg"));
	text_make_printable(line);
	n = strlen(line);
	line[n++] = '\n';
	put(relay, line, n);
}

/* a complete line that begins like a record */
static void take_line(struct relay *relay, const char *line, size_t n)
{
	json_t *record = json_loadb(line, n, 0, NULL);
	const char *comp = record ? text_of(record, "comp") : "";
	bool is_ours = strcmp(comp, "snapinit") == 0 || strcmp(comp, "snapworker") == 0;

	if (is_ours)
		note(relay, record);
	if (!is_ours || (relay->records && !relay->as_text))
		put(relay, line, n);
	else if (relay->records)
		put_as_text(relay, record);
	json_decref(record);
}

/* how many bytes at the end could be the beginning of a record's first characters */
static size_t possible_start(const char *bytes, size_t n)
{
	size_t len = n < START_SIZE - 1 ? n : START_SIZE - 1;

	while (len > 0 && memcmp(bytes + n - len, record_start, len) != 0)
		len--;
	return len;
}

/* pass on all that is decided; what is not stays held */
static void digest_held(struct relay *relay)
{
	for (;;) {
		const char *at = memmem(relay->held, relay->n_held, record_start, START_SIZE);
		size_t before = at ? (size_t)(at - relay->held)
				   : relay->n_held - possible_start(relay->held, relay->n_held);
		const char *end;
		size_t used = before;

		put(relay, relay->held, before);
		end = at ? memchr(at, '\n', relay->n_held - before) : NULL;
		if (end) {
			take_line(relay, at, (size_t)(end - at) + 1);
			used += (size_t)(end - at) + 1;
		} else if (at && relay->n_held - before == sizeof(relay->held)) {
			put(relay, at, relay->n_held); /* too long for one */
			used = relay->n_held;
		}
		relay->n_held -= used;
		memmove(relay->held, relay->held + used, relay->n_held);
		if (!end)
			return;
	}
}

void relay_take(struct relay *relay, const char *bytes, size_t n)
{
	while (n > 0) {
		size_t room = sizeof(relay->held) - relay->n_held;
		size_t part = n < room ? n : room;

		memcpy(relay->held + relay->n_held, bytes, part);
		relay->n_held += part;
		bytes += part;
		n -= part;
		digest_held(relay);
	}
}

int relay_turn(struct relay *relay)
{
	char bytes[RELAY_RECORD_MAX];
	ssize_t n = read(relay->fd, bytes, sizeof(bytes));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return 1;
	relay_take(relay, bytes, (size_t)n);
	return 0;
}

void relay_close(struct relay *relay)
{
	put(relay, relay->held, relay->n_held);
	relay->n_held = 0;
	relay->fd = fd_close(relay->fd);
}
