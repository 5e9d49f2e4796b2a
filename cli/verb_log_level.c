/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>

#include "cli/control_client.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/clock.h"
#include "common/log.h"

struct log_level_options {
	struct verb_common common;
	struct control_target target;
};

const struct option_def verb_log_level_options[] = {
	CONTROL_TARGET_OPTIONS(struct log_level_options),
	VERB_COMMON_OPTIONS(struct log_level_options),
};

int verb_log_level(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct log_level_options options = {.target = {.pid = 0}};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	char question[64], text[CONTROL_TEXT_MAX];
	const char *word;
	enum log_level level;
	json_t *answer;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	word = argv[next];
	if (word && log_level_parse(word, &level) < 0)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "'%s' is not error, warn, info or debug", word),
		       VERB_FAILED;
	(void)snprintf(question, sizeof(question), "log-level%s%s", word ? " " : "",
		       word ? word : "");
	if (control_ask(&options.target, question, deadline_after_ms(CONTROL_PATIENCE_MS), &answer,
			err) < 0)
		return VERB_FAILED;
	if (options.common.json)
		return output_json(answer, err) < 0 ? VERB_FAILED : 0;
	(void)printf("%s\n", control_text(answer, "log_level", text));
	json_decref(answer);
	return 0;
}
