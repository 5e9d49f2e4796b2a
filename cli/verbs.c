/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/verbs.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"
#include "common/init_options.h"
#include "common/similar.h"

const struct verb *verbs_find(const char *name, struct snap_error *err)
{
	struct similar similar;

	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (strcmp(verb->name, name) == 0)
			return verb;
	}
	similar_init(&similar, name, strlen(name));
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (verb->help)
			similar_try(&similar, verb->name);
	}
	(void)snap_fail_plain(err, SNAP_E_USAGE, 0,
			      "unknown verb '%s' (%s%s%ssnapctl help lists all)", name,
			      similar.best ? "did you mean " : "", similar.best ? similar.best : "",
			      similar.best ? "? " : "");
	return NULL;
}

void verb_print_help(const struct verb *verb)
{
	(void)printf("Usage: snapctl %s %s\n%s.\n\n", verb->name, verb->usage,
		     verb->help ? verb->help : "");
	options_print(verb->options, stdout);
	if (verb->notes)
		(void)printf("\n%s", verb->notes);
}

void verbs_print_help(FILE *out)
{
	(void)fputs("Usage: snapctl VERB [options] [argument...]\n"
		    "Makes, looks at and checks snapshots of inference engines.\n\nVerbs:\n",
		    out);
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (verb->help)
			(void)fprintf(out, "  %-10s %s\n", verb->name, verb->help);
	}
	(void)fputs(
		"\nsnapctl VERB --help tells more. Results are on stdout (--json: as JSON),\n"
		"progress on stderr.\n\n"
		"Exit status: 0 done, 1 internal, 2 usage, 3 rights or programs missing,\n"
		"4 snapshot incompatible or absent, 5 damaged, 6 engine not ready, 7 the engine\n"
		"holds what cannot be dumped, 8 dump failed, 9 GPU, 10 wake failed, 11 over\n"
		"budget, 12 hook, 13 another answer than before, 130 and 143 interrupted.\n"
		"run: the command's own, 128+N after signal N, 125 when snapctl failed, 126 and\n"
		"127 when the command cannot be executed or found.\n"
		"diff: 1 when something differs that matters for a wake, 125 internal.\n",
		out);
}

/* options may stand before, between and behind words: gather the words in argv[1] … */
static int gather_words(struct options *options, int argc, char **argv, struct snap_error *err)
{
	int at = 0, n = 0, next;

	for (;;) {
		int r = options_take_words(options, argc - at, argv + at, &next, err);

		if (r < 0)
			return r;
		at += next;
		if (at > 0 && at <= argc && strcmp(argv[at - 1], "--") == 0) {
			while (at < argc)
				argv[++n] = argv[at++];
		}
		if (at >= argc)
			break;
		argv[++n] = argv[at];
	}
	argv[n + 1] = NULL;
	return n;
}

static int check_words(const struct verb *verb, int n, char *const *words, struct snap_error *err)
{
	if (n < verb->min_args)
		(void)snap_fail_plain(err, SNAP_E_USAGE, 0, "argument missing: snapctl %s %s",
				      verb->name, verb->usage);
	else if (verb->max_args >= 0 && n > verb->max_args)
		(void)snap_fail_plain(err, SNAP_E_USAGE, 0, "too many arguments: '%s'",
				      words[verb->max_args]);
	else
		return 0;
	return VERB_FAILED;
}

/* a snapinit that we start reads the same file, whatever our folder is by then */
static int hand_on_config(const struct verb_common *common, struct snap_error *err)
{
	char path[PATH_MAX];
	const char *word = common->config_path;

	if (!word)
		return 0;
	if (strcmp(word, CONFIG_NONE) != 0 && realpath(word, path))
		word = path;
	if (setenv("SNAPINIT_CONFIG", word, 1) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot hand on --config");
	return 0;
}

/* what is not said on the command line */
static int take_rest(struct options *options, struct verb_common *common, struct snap_error *err)
{
	const struct option_def *config = options_find(options->defs, "config");
	int r = options_take_environment(options, err);

	/* `config` has one that is not for itself */
	if (r == 0 && config && config->env) {
		r = config_file_load(&common->config, common->config_path, err);
		/* what is no key of the verb's is for a snapinit that it starts */
		if (r == 0)
			r = init_options_check_config(&common->config, err);
		if (r == 0)
			r = options_take_config(options, &common->config, init_options_table, err);
		if (r == 0)
			r = hand_on_config(common, err);
	}
	return r < 0 ? r : options_take_defaults(options, err);
}

int verb_parse(const struct verb *verb, void *target, struct verb_common *common, int argc,
	       char **argv, struct snap_error *err)
{
	struct options options;
	int next = 1, n, r = 0;

	options_init(&options, verb->options, target);
	if (verb->max_args < 0) {
		r = options_take_words(&options, argc, argv, &next, err);
		n = argc - next;
	} else {
		n = gather_words(&options, argc, argv, err);
	}
	if (r < 0 || n < 0)
		return VERB_FAILED;
	if (common->help) {
		verb_print_help(verb);
		return VERB_HELPED;
	}
	if (take_rest(&options, common, err) < 0)
		return VERB_FAILED;
	output_set_quiet(common->quiet);
	output_set_json(common->json);
	return check_words(verb, n, argv + next, err) < 0 ? VERB_FAILED : next;
}
