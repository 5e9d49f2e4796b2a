/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A capture of a container that runs: snapinit makes it, we wait and tell. Who interrupts us ends
 * the waiting and not the capture.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli/control_client.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/clock.h"

#define ASK_AGAIN_MS 100

struct capture_options {
	struct verb_common common;
	struct control_target target;
	bool no_wait;
	uint64_t timeout_ms;
};

#define AT(member) offsetof(struct capture_options, member)

const struct option_def verb_capture_options[] = {
	CONTROL_TARGET_OPTIONS(struct capture_options),
	{"no-wait", 0, OPTION_FLAG, AT(no_wait), NULL, NULL,
	 .help = "return when it has begun; snapctl state tells how it went"},
	{"timeout", 0, OPTION_DURATION, AT(timeout_ms), NULL, "DUR",
	 "wait no longer than DUR; the capture goes on", .initial = "10m"},
	VERB_COMMON_OPTIONS(struct capture_options),
};

/* the word of the capture's own state, or of the state that it is in */
static bool is_over(const json_t *state)
{
	char text[CONTROL_TEXT_MAX];

	if (strcmp(control_text(json_object_get(state, "capture"), "result", text), "running") == 0)
		return false;
	/* a broken one is mended, and its engine tried, before it serves again */
	(void)control_text(state, "state", text);
	return strcmp(text, "mending") != 0 && strcmp(text, "recovering") != 0 &&
	       strcmp(text, "probing") != 0 && strcmp(text, "suspending") != 0 &&
	       strcmp(text, "cleaning") != 0;
}

/* the last answer to "state", the caller's */
static int wait_for_end(const struct capture_options *options, json_t **ret, struct snap_error *err)
{
	uint64_t deadline_ns = deadline_after_ms(options->timeout_ms);
	const struct timespec pause = {.tv_nsec = ASK_AGAIN_MS * (long)NS_PER_MS};
	char before[CONTROL_TEXT_MAX] = "";

	for (;;) {
		char text[CONTROL_TEXT_MAX];

		if (control_ask(&options->target, "state", deadline_after_ms(CONTROL_PATIENCE_MS),
				ret, err) < 0)
			return -EIO;
		if (is_over(*ret))
			return 0;
		if (strcmp(control_text(*ret, "state", text), before) != 0) {
			output_progress("%s", text);
			memcpy(before, text, sizeof(before));
		}
		json_decref(*ret);
		*ret = NULL;
		if (deadline_left_ms(deadline_ns) == 0)
			return snap_fail_plain(err, SNAP_E_BUDGET, ETIMEDOUT,
					       "--timeout has passed; the capture goes on, and "
					       "snapctl state tells how it ends (--timeout with a "
					       "longer time waits for it)");
		(void)nanosleep(&pause, NULL);
	}
}

static int tell(const struct capture_options *options, json_t *state, struct snap_error *err)
{
	const json_t *capture = json_object_get(state, "capture");
	char result[CONTROL_TEXT_MAX], text[CONTROL_TEXT_MAX], code[CONTROL_TEXT_MAX];

	if (strcmp(control_text(capture, "result", result), "done") != 0)
		return snap_fail_plain(err, snap_code_named(control_text(capture, "code", code)),
				       EIO, "no snapshot was made: %s",
				       control_text(capture, "why", text)),
		       VERB_FAILED;
	if (options->common.json)
		return output_json(json_incref(state), err) < 0 ? VERB_FAILED : 0;
	(void)printf("%s\n", control_text(capture, "snapshot", text));
	return 0;
}

int verb_capture(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct capture_options options = {.timeout_ms = 600000};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	json_t *answer;
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	if (control_ask(&options.target, "capture", deadline_after_ms(CONTROL_PATIENCE_MS), &answer,
			err) < 0)
		return VERB_FAILED;
	if (options.no_wait && options.common.json)
		return output_json(answer, err) < 0 ? VERB_FAILED : 0;
	json_decref(answer);
	if (options.no_wait)
		return 0;
	if (wait_for_end(&options, &answer, err) < 0)
		return VERB_FAILED;
	r = tell(&options, answer, err);
	json_decref(answer);
	return r;
}
