/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/completion.h"
#include "common/cleanup.h"
#include "common/init_options.h"

static void put_words(const struct completion_words *words, FILE *out)
{
	switch (words->kind) {
	case COMPLETE_ANY:
		(void)fputs(" -x", out);
		break;
	case COMPLETE_DIR:
		(void)fputs(" -x -a '(__fish_complete_directories)'", out);
		break;
	case COMPLETE_FILE:
		(void)fputs(" -r -F", out);
		break;
	case COMPLETE_USER:
		(void)fputs(" -x -a '(__fish_complete_users)'", out);
		break;
	case COMPLETE_WORDS:
		(void)fprintf(out, " -x -a '%s'", words->words);
		break;
	}
}

static void put_description(const char *text, FILE *out)
{
	(void)fputs(" -d '", out);
	completion_put_quoted(text, "\\", "\\'", out);
	(void)fputs("'\n", out);
}

/* where: "-c snapctl -n '__snapctl_verb create'"; all of defs but what is in `but` */
static void put_options(const char *where, const struct option_def *defs,
			const struct option_def *but, FILE *out)
{
	for (const struct option_def *def = defs; def->name; def++) {
		struct completion_words words;

		if (but && options_find(but, def->name))
			continue;
		(void)fprintf(out, "complete %s -l %s", where, def->name);
		if (def->letter)
			(void)fprintf(out, " -s %c", def->letter);
		if (option_takes_value(def)) {
			completion_of_option(def, &words);
			put_words(&words, out);
		}
		put_description(def->help, out);
	}
}

static void put_behind(const char *where, const struct verb *verb, FILE *out)
{
	struct completion_words words = {.kind = COMPLETE_DIR};
	snap_cleanup_free char *verbs = NULL;

	switch (verb->words) {
	case VERB_WORDS_NONE:
	case VERB_WORDS_SNAPINIT:
		return;
	case VERB_WORDS_DIR:
		break;
	case VERB_WORDS_COMMAND:
		(void)fprintf(out, "complete %s -x -a '(__fish_complete_command)'\n", where);
		return;
	case VERB_WORDS_VERB:
		verbs = completion_verbs();
		(void)fprintf(out, "complete %s -x -a '%s'\n", where, verbs ? verbs : "");
		return;
	case VERB_WORDS_CHOICE:
		completion_of_choices(verb->choices, &words);
		break;
	}
	(void)fprintf(out, "complete %s", where);
	put_words(&words, out);
	(void)fputc('\n', out);
}

static void put_verb(const struct verb *verb, FILE *out)
{
	char where[128];

	(void)fprintf(out, "complete -c snapctl -n __snapctl_no_verb -a %s", verb->name);
	put_description(verb->help, out);
	(void)snprintf(where, sizeof(where), "-c snapctl -n '__snapctl_verb %s'", verb->name);
	put_options(where, verb->options, NULL, out);
	if (verb->takes_snapinits)
		put_options(where, init_options_table, verb->options, out);
	put_behind(where, verb, out);
	if (verb->words != VERB_WORDS_SNAPINIT)
		return;
	/* behind "--" fish knows no options, so they are words */
	(void)fprintf(out, "complete -c snapctl -n '__snapctl_verb %s --' -a '", verb->name);
	for (const struct option_def *def = init_options_table; def->name; def++)
		(void)fprintf(out, "%s--%s", def == init_options_table ? "" : " ", def->name);
	(void)fputs("'\n", out);
}

void completion_print_fish(FILE *out)
{
	(void)fputs(
		"# fish completion of snapctl and snapinit, made by: snapctl completion fish\n\n"
		"function __snapctl_no_verb\n"
		"\ttest (count (commandline -opc)) -eq 1\nend\n\n"
		"# the verb is $argv[1], and $argv[2], if any, stands somewhere behind it\n"
		"function __snapctl_verb\n"
		"\tset -l words (commandline -opc)\n"
		"\ttest (count $words) -ge 2; and test $words[2] = $argv[1]; or return 1\n"
		"\tnot set -q argv[2]; or contains -- $argv[2] $words\nend\n\n"
		"complete -c snapctl -f\n"
		"complete -c snapctl -n __snapctl_no_verb -s h -l help -d 'show help'\n"
		"complete -c snapctl -n __snapctl_no_verb -l version -d 'show versions'\n",
		out);
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (verb->help)
			put_verb(verb, out);
	}
	(void)fputs("\ncomplete -c snapinit -x -a '(__fish_complete_command)'\n", out);
	put_options("-c snapinit", init_options_table, NULL, out);
}
