/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "cli/control_client.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/clock.h"

struct state_options {
	struct verb_common common;
	struct control_target target;
};

const struct option_def verb_state_options[] = {
	CONTROL_TARGET_OPTIONS(struct state_options),
	VERB_COMMON_OPTIONS(struct state_options),
};

static void print_capture(const json_t *capture)
{
	char result[CONTROL_TEXT_MAX], code[CONTROL_TEXT_MAX], text[CONTROL_TEXT_MAX];

	(void)control_text(capture, "result", result);
	(void)control_text(capture, "code", code);
	if (control_text(capture, "snapshot", text)[0])
		(void)printf("capture      %s: %s\n", result, text);
	else if (control_text(capture, "why", text)[0])
		(void)printf("capture      %s (%s): %s\n", result, code, text);
	else
		(void)printf("capture      %s\n", result);
}

static void print_text(const json_t *answer)
{
	char text[CONTROL_TEXT_MAX], generation[CONTROL_TEXT_MAX], up[OUTPUT_SIZE_MAX];
	json_int_t ms = json_integer_value(json_object_get(answer, "uptime_ms"));
	const json_t *wish = json_object_get(answer, "asked_to_end_ms");

	(void)printf("state        %s\n", control_text(answer, "state", text));
	(void)printf("engine       pid %lld\n",
		     (long long)json_integer_value(json_object_get(answer, "engine")));
	(void)printf("started      %s%s%s\n", control_text(answer, "origin", text),
		     control_text(answer, "generation", generation)[0] ? ", " : "", generation);
	(void)printf("up           %s\n", output_duration(ms > 0 ? (uint64_t)ms : 0, up));
	if (json_is_integer(wish))
		(void)printf("asked to end %s ago\n",
			     output_duration((uint64_t)json_integer_value(wish), up));
	(void)printf("snapshot     %s\n", control_text(answer, "snapshot", text));
	(void)printf("capturable   %s\n",
		     json_is_true(json_object_get(answer, "capturable")) ? "yes" : "no");
	print_capture(json_object_get(answer, "capture"));
	(void)printf("log level    %s\n", control_text(answer, "log_level", text));
}

int verb_state(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct state_options options = {.target = {.pid = 0}};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	json_t *answer;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	if (control_ask(&options.target, "state", deadline_after_ms(CONTROL_PATIENCE_MS), &answer,
			err) < 0)
		return VERB_FAILED;
	if (options.common.json)
		return output_json(answer, err) < 0 ? VERB_FAILED : 0;
	print_text(answer);
	json_decref(answer);
	return 0;
}
