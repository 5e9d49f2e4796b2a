/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/completion.h"
#include "common/init_options.h"

/* inside [explanation] and :message: of _arguments, between single quotes */
#define PUT_TEXT(text, out) completion_put_quoted((text), "[]:\\", "'\\''", (out))

static void put_action(const struct completion_words *words, FILE *out)
{
	switch (words->kind) {
	case COMPLETE_ANY:
		(void)fputc(' ', out); /* a message, no candidates */
		break;
	case COMPLETE_DIR:
		(void)fputs("_files -/", out);
		break;
	case COMPLETE_FILE:
		(void)fputs("_files", out);
		break;
	case COMPLETE_USER:
		(void)fputs("_users", out);
		break;
	case COMPLETE_WORDS:
		(void)fputc('(', out);
		PUT_TEXT(words->words, out);
		(void)fputc(')', out);
		break;
	}
}

/* one spelling of an option: "(-o --output)--output=[text]:DIR:_files -/" */
static void put_spec(const struct option_def *def, const char *spelling, const char *joint,
		     FILE *out)
{
	bool repeats = def->type == OPTION_LIST || def->type == OPTION_COUNT;
	struct completion_words words;

	(void)fputs("\t\t'", out);
	if (repeats)
		(void)fputc('*', out);
	else if (def->letter)
		(void)fprintf(out, "(-%c --%s)", def->letter, def->name);
	(void)fprintf(out, "%s%s[", spelling, option_takes_value(def) ? joint : "");
	PUT_TEXT(def->help, out);
	(void)fputc(']', out);
	if (option_takes_value(def)) {
		(void)fputc(':', out);
		PUT_TEXT(def->arg ? def->arg : def->name, out);
		(void)fputc(':', out);
		completion_of_option(def, &words);
		put_action(&words, out);
	}
	(void)fputs("' \\\n", out);
}

/* all of defs but what is in `but` (NULL: nothing) */
static void put_specs(const struct option_def *defs, const struct option_def *but, FILE *out)
{
	for (const struct option_def *def = defs; def->name; def++) {
		char spelling[64];

		if (but && options_find(but, def->name))
			continue;
		(void)snprintf(spelling, sizeof(spelling), "--%s", def->name);
		put_spec(def, spelling, "=", out);
		if (!def->letter)
			continue;
		(void)snprintf(spelling, sizeof(spelling), "-%c", def->letter);
		put_spec(def, spelling, "+", out);
	}
}

static void put_command(FILE *out)
{
	(void)fputs("\t\t'(-)1:command:_command_names -e' '*::argument:_normal'", out);
}

static void put_behind(const struct verb *verb, FILE *out)
{
	struct completion_words words;

	switch (verb->words) {
	case VERB_WORDS_NONE:
		(void)fputs("\t\t&& return", out);
		break;
	case VERB_WORDS_DIR:
		(void)fputs("\t\t'1:store:_files -/'", out);
		break;
	case VERB_WORDS_COMMAND:
		put_command(out);
		break;
	case VERB_WORDS_VERB:
		(void)fputs("\t\t'1:verb:_snapctl_verbs'", out);
		break;
	case VERB_WORDS_CHOICE:
		completion_of_choices(verb->choices, &words);
		(void)fputs("\t\t'1:word:", out);
		put_action(&words, out);
		(void)fputc('\'', out);
		break;
	case VERB_WORDS_SNAPINIT:
		(void)fputs("\t\t'*:option of snapinit: '", out);
		break;
	}
	(void)fputc('\n', out);
}

static void put_verb(const struct verb *verb, FILE *out)
{
	(void)fprintf(out, "\t%s)\n", verb->name);
	if (verb->words == VERB_WORDS_SNAPINIT)
		(void)fputs("\t\t_snapctl_snapinit && return\n", out);
	(void)fputs("\t\t_arguments -S \\\n", out);
	put_specs(verb->options, NULL, out);
	if (verb->takes_snapinits)
		put_specs(init_options_table, verb->options, out);
	put_behind(verb, out);
	(void)fputs("\t\t;;\n", out);
}

static void put_verbs(FILE *out)
{
	(void)fputs("_snapctl_verbs() {\n\tlocal -a verbs=(\n", out);
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (!verb->help)
			continue;
		(void)fprintf(out, "\t\t'%s:", verb->name);
		completion_put_quoted(verb->help, "", "'\\''", out);
		(void)fputs("'\n", out);
	}
	(void)fputs("\t)\n\t_describe verb verbs\n}\n\n", out);
}

void completion_print_zsh(FILE *out)
{
	(void)fputs("#compdef snapctl snapinit\n"
		    "# zsh completion of snapctl and snapinit, made by: snapctl completion zsh\n\n",
		    out);
	put_verbs(out);
	(void)fputs("_snapinit() {\n\t_arguments -S \\\n", out);
	put_specs(init_options_table, NULL, out);
	put_command(out);
	(void)fputs(
		"\n}\n\n"
		"# behind \"snapctl config --\" the line is snapinit's\n"
		"_snapctl_snapinit() {\n"
		"\tlocal at=${words[(i)--]}\n"
		"\t(( at < CURRENT )) || return\n"
		"\twords=(snapinit \"${(@)words[at+1,-1]}\")\n"
		"\t(( CURRENT -= at - 1 ))\n"
		"\t_snapinit\n}\n\n"
		"_snapctl() {\n"
		"\tif [[ $service == snapinit ]]; then\n\t\t_snapinit\n\t\treturn\n\tfi\n"
		"\tlocal curcontext=$curcontext state line\n\ttypeset -A opt_args\n"
		"\t_arguments -C '(- *)'{-h,--help}'[show help]' '(- *)--version[show versions]' \\\n"
		"\t\t'1:verb:_snapctl_verbs' '*::argument:->verb'\n"
		"\t[[ $state == verb ]] || return\n"
		"\tcase $words[1] in\n",
		out);
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (verb->help)
			put_verb(verb, out);
	}
	(void)fputs("\tesac\n}\n\n"
		    "# read by compinit the file is the body of one function; else it is sourced\n"
		    "case ${funcstack[1]:-} in\n"
		    "_snapctl | _snapinit) _${service:-snapctl} \"$@\" ;;\n"
		    "*) compdef _snapctl snapctl && compdef _snapinit snapinit ;;\n"
		    "esac\n",
		    out);
}
