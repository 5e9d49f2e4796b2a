/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/completion.h"
#include "cli/verbs.h"

struct completion_options {
	struct verb_common common;
};

const struct option_def verb_completion_options[] = {
	VERB_HELP_OPTION(struct completion_options, common.help),
	{.name = NULL},
};

int verb_completion(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct completion_options options = {.common = {.help = false}};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	if (completion_print(argv[next], stdout) < 0)
		return snap_fail_plain(err, SNAP_E_USAGE, 0, "'%s' is not bash, zsh or fish",
				       argv[next]),
		       VERB_FAILED;
	return 0;
}
