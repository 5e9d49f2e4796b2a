/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/verbs.h"

struct help_options {
	struct verb_common common;
};

const struct option_def verb_help_options[] = {
	VERB_HELP_OPTION(struct help_options, common.help),
	{.name = NULL},
};

int verb_help(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct help_options options = {.common = {.help = false}};
	const struct verb *about;
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	if (!argv[next]) {
		verbs_print_help(stdout);
		return 0;
	}
	about = verbs_find(argv[next], err);
	if (!about)
		return VERB_FAILED;
	if (!about->options)
		verbs_print_help(stdout);
	else
		verb_print_help(about);
	return 0;
}
