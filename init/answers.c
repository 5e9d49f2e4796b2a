/* SPDX-License-Identifier: Apache-2.0 */
#include "init/answers.h"

#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "init/control.h"

/* of the engine's command line that is told; with the longest of the rest it fits into a reply */
#define COMMAND_WORDS_MAX 64
#define COMMAND_BYTES_MAX 6144U
#define WORD_BYTES_MIN	  16U
#define TEXT_BYTES_MAX	  4096U /* of a path or a reason */
#define NAME_BYTES_MAX	  512U

_Static_assert(COMMAND_BYTES_MAX + COMMAND_WORDS_MAX * 3 + 2 * TEXT_BYTES_MAX + NAME_BYTES_MAX +
			       1024 <
		       CONTROL_REPLY_MAX,
	       "every answer fits");

static void put_command(const struct init_options *options, struct json_writer *reply)
{
	size_t left = COMMAND_BYTES_MAX;
	unsigned int i = 0;

	json_open_array(reply, "command");
	for (; i < COMMAND_WORDS_MAX && options->argv[i] && left >= WORD_BYTES_MIN; i++) {
		size_t before = reply->used, size;

		json_put_string_cut(reply, NULL, options->argv[i], left);
		size = reply->used - before;
		left = size < left ? left - size : 0;
	}
	if (options->argv[i])
		json_put_string(reply, NULL, JSON_CUT_MARK);
	json_close_array(reply);
}

static void put_capture(const struct supervisor *supervisor, struct json_writer *reply)
{
	static const char *const names[] = {
		[CAPTURE_NOT_TRIED] = "none",
		[CAPTURE_RUNS] = "running",
		[CAPTURE_MADE] = "done",
		[CAPTURE_FAILED] = "failed",
	};
	const struct capture_report *report = &supervisor->report;

	json_open_object(reply, "capture");
	json_put_string(reply, "result", names[report->outcome]);
	if (report->outcome == CAPTURE_MADE)
		json_put_string_cut(reply, "snapshot", report->text, NAME_BYTES_MAX);
	if (report->outcome == CAPTURE_FAILED) {
		json_put_string(reply, "code", supervisor_code_name(report->code));
		json_put_string_cut(reply, "why", report->text, TEXT_BYTES_MAX);
	}
	json_close_object(reply);
}

static void answer_state(const struct answers *answers, const char *word, struct json_writer *reply)
{
	static const char *const origins[] = {
		[ORIGIN_NONE] = "none", [ORIGIN_COLD] = "cold", [ORIGIN_WAKE] = "wake"};
	const struct supervisor *supervisor = answers->supervisor;
	const struct init_options *options = supervisor->options;

	(void)word;
	json_put_string(reply, "schema", "snapinit.state/v1");
	json_put_string(reply, "state", supervisor_state_name(supervisor->state));
	json_put_string(reply, "version", SNAP_VERSION);
	json_put_int(reply, "pid", getpid());
	json_put_int(reply, "engine", supervisor->ops->engine(supervisor->world));
	json_put_string(reply, "origin", origins[supervisor->origin]);
	json_put_string_cut(reply, "generation",
			    supervisor->origin == ORIGIN_WAKE ? supervisor->generation : "",
			    NAME_BYTES_MAX);
	json_put_string_cut(reply, "snapshot", options->snapshot ? options->snapshot : "",
			    TEXT_BYTES_MAX);
	json_put_bool(reply, "capturable", options->snapshot && supervisor->capturable);
	put_capture(supervisor, reply);
	json_put_uint(reply, "uptime_ms", (clock_now_ns() - supervisor->started_ns) / NS_PER_MS);
	if (supervisor->asked_to_end_ns > 0)
		json_put_uint(reply, "asked_to_end_ms",
			      (clock_now_ns() - supervisor->asked_to_end_ns) / NS_PER_MS);
	json_put_string(reply, "log_level", log_level_name(log_level_get()));
	put_command(options, reply);
}

static void answer_capture(const struct answers *answers, const char *word,
			   struct json_writer *reply)
{
	struct snap_error err = {.code = SNAP_OK};

	(void)word;
	if (supervisor_ask_capture(answers->supervisor, &err) == 0) {
		json_put_string(reply, "capture", "running");
		return;
	}
	json_put_string_cut(reply, "error", err.msg, TEXT_BYTES_MAX);
	json_put_string(reply, "code", supervisor_code_name(err.code));
}

static void answer_log_level(const struct answers *answers, const char *word,
			     struct json_writer *reply)
{
	enum log_level level;

	if (word[0] && log_level_parse(word, &level) < 0) {
		json_put_string(reply, "error", "a log level is error, warn, info or debug");
		return;
	}
	if (word[0]) {
		log_set_level(level);
		answers->worker->log_level = log_level_name(level);
	}
	json_put_string(reply, "log_level", log_level_name(log_level_get()));
}

void answers_put(void *owner, const char *verb, const char *word, struct json_writer *reply)
{
	static const struct {
		const char *verb;
		void (*put)(const struct answers *answers, const char *word,
			    struct json_writer *reply);
	} all[] = {
		{"state", answer_state},
		{"capture", answer_capture},
		{"log-level", answer_log_level},
	};

	for (unsigned int i = 0; i < ARRAY_LEN(all); i++) {
		if (strcmp(verb, all[i].verb) == 0) {
			all[i].put(owner, word, reply);
			return;
		}
	}
	json_put_string(reply, "error", "requests are: state, capture, log-level [LEVEL]");
}
