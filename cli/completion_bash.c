/* SPDX-License-Identifier: Apache-2.0 */
/* Two functions that know the tables, made from them, and a program that knows none. */
#include "cli/completion.h"
#include "common/cleanup.h"
#include "common/init_options.h"

static const char head[] =
	"# bash completion of snapctl and snapinit, made by: snapctl completion bash\n\n";

static const char tail[] =
	"# the candidates of kind $1 (with words: the rest) that begin with $cur\n"
	"_snap_put()\n"
	"{\n"
	"	local kind=$1\n"
	"	shift\n"
	"	case $kind in\n"
	"	dir) mapfile -t COMPREPLY < <(compgen -d -- \"$cur\") ;;\n"
	"	file) mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
	"	user) mapfile -t COMPREPLY < <(compgen -u -- \"$cur\") ;;\n"
	"	command) mapfile -t COMPREPLY < <(compgen -c -- \"$cur\") ;;\n"
	"	words) mapfile -t COMPREPLY < <(compgen -W \"$*\" -- \"$cur\") ;;\n"
	"	esac\n"
	"	case $kind in\n"
	"	dir | file) compopt -o filenames 2>/dev/null ;;\n"
	"	words) [[ ${COMPREPLY[*]} != *[/:] ]] || compopt -o nospace 2>/dev/null ;;\n"
	"	esac\n"
	"	return 0\n"
	"}\n\n"
	"# the value of option $2 in the first of the tables $1 that has it\n"
	"_snap_value_in()\n"
	"{\n"
	"	local table found\n"
	"	for table in $1; do\n"
	"		found=$(_snap_value \"$table\" \"$2\")\n"
	"		[[ -z $found ]] || { printf '%s\\n' \"$found\"; return; }\n"
	"	done\n"
	"}\n\n"
	"# the command behind the options begins at word $1\n"
	"_snap_command()\n"
	"{\n"
	"	if declare -F _command_offset >/dev/null; then\n"
	"		_command_offset \"$1\"\n"
	"	elif ((COMP_CWORD == $1)); then\n"
	"		_snap_put command\n"
	"	else\n"
	"		_snap_put file\n"
	"	fi\n"
	"}\n\n"
	"# options of the tables $1 from word $3 on; $2: what stands behind them\n"
	"_snap_complete()\n"
	"{\n"
	"	local cur=${COMP_WORDS[COMP_CWORD]} option='' word i table behind=0\n"
	"	local -a names=() kinds=()\n"
	"	read -ra kinds <<<\"$2\"\n"
	"	[[ $cur != = ]] || cur=''\n"
	"	for ((i = $3; i < COMP_CWORD; i++)); do\n"
	"		word=${COMP_WORDS[i]}\n"
	"		if [[ -n $option ]]; then\n"
	"			[[ $word == = ]] || option=''\n"
	"			continue\n"
	"		fi\n"
	"		case $word in\n"
	"		--)\n"
	"			behind=$((i + 1))\n"
	"			break\n"
	"			;;\n"
	"		-?*) [[ -z $(_snap_value_in \"$1\" \"$word\") ]] || option=$word ;;\n"
	"		*)\n"
	"			[[ ${kinds[0]} != command ]] || { behind=$i; break; }\n"
	"			;;\n"
	"		esac\n"
	"	done\n"
	"	if [[ -n $option ]]; then\n"
	"		read -ra kinds <<<\"$(_snap_value_in \"$1\" \"$option\")\"\n"
	"		_snap_put \"${kinds[@]}\"\n"
	"	elif ((behind)) && [[ ${kinds[0]} == snapinit ]]; then\n"
	"		_snap_complete snapinit command \"$behind\"\n"
	"	elif ((behind)) && [[ ${kinds[0]} == command ]]; then\n"
	"		_snap_command \"$behind\"\n"
	"	elif ((!behind)) && [[ $cur == -* ]]; then\n"
	"		for table in $1; do\n"
	"			read -ra kinds <<<\"$(_snap_options \"$table\")\"\n"
	"			names+=(\"${kinds[@]}\")\n"
	"		done\n"
	"		mapfile -t COMPREPLY < <(compgen -W \"${names[*]}\" -- \"$cur\" | sort -u)\n"
	"	else\n"
	"		_snap_put \"${kinds[@]}\"\n"
	"	fi\n"
	"}\n\n"
	"_snapinit()\n"
	"{\n"
	"	COMPREPLY=()\n"
	"	_snap_complete snapinit command 1\n"
	"}\n\n"
	"complete -F _snapctl snapctl\n"
	"complete -F _snapinit snapinit\n";

static void put_options(const char *table, const struct option_def *defs, FILE *out)
{
	(void)fprintf(out, "\t%s) echo '", table);
	for (const struct option_def *def = defs; def->name; def++) {
		(void)fprintf(out, "%s--%s", def == defs ? "" : " ", def->name);
		if (def->letter)
			(void)fprintf(out, " -%c", def->letter);
	}
	(void)fputs("' ;;\n", out);
}

static void put_words(const struct completion_words *words, FILE *out)
{
	static const char *const names[] = {
		[COMPLETE_ANY] = "any",	  [COMPLETE_DIR] = "dir",     [COMPLETE_FILE] = "file",
		[COMPLETE_USER] = "user", [COMPLETE_WORDS] = "words",
	};

	(void)fprintf(out, "%s%s%s", names[words->kind], words->words[0] ? " " : "", words->words);
}

static void put_values(const char *table, const struct option_def *defs, FILE *out)
{
	for (const struct option_def *def = defs; def->name; def++) {
		struct completion_words words;

		if (!option_takes_value(def))
			continue;
		completion_of_option(def, &words);
		(void)fprintf(out, "\t%s:--%s", table, def->name);
		if (def->letter)
			(void)fprintf(out, " | %s:-%c", table, def->letter);
		(void)fputs(") echo '", out);
		put_words(&words, out);
		(void)fputs("' ;;\n", out);
	}
}

static void put_behind(const struct verb *verb, const char *verbs, FILE *out)
{
	struct completion_words words;

	switch (verb->words) {
	case VERB_WORDS_NONE:
		(void)fputs("any", out);
		break;
	case VERB_WORDS_DIR:
		(void)fputs("dir", out);
		break;
	case VERB_WORDS_COMMAND:
		(void)fputs("command", out);
		break;
	case VERB_WORDS_VERB:
		(void)fprintf(out, "words %s", verbs);
		break;
	case VERB_WORDS_CHOICE:
		completion_of_choices(verb->choices, &words);
		put_words(&words, out);
		break;
	case VERB_WORDS_SNAPINIT:
		(void)fputs("snapinit", out);
		break;
	}
}

static void put_snapctl(FILE *out)
{
	snap_cleanup_free char *verbs = completion_verbs();

	(void)fprintf(out,
		      "_snapctl()\n{\n\tlocal cur=${COMP_WORDS[COMP_CWORD]}\n\tCOMPREPLY=()\n"
		      "\tif ((COMP_CWORD == 1)); then\n"
		      "\t\t_snap_put words %s --help --version\n\t\treturn\n\tfi\n"
		      "\tcase ${COMP_WORDS[1]} in\n",
		      verbs ? verbs : "");
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (!verb->help)
			continue;
		(void)fprintf(out, "\t%s) _snap_complete '%s%s' '", verb->name, verb->name,
			      verb->takes_snapinits ? " snapinit" : "");
		put_behind(verb, verbs ? verbs : "", out);
		(void)fputs("' 2 ;;\n", out);
	}
	(void)fputs("\tesac\n}\n\n", out);
}

void completion_print_bash(FILE *out)
{
	(void)fputs(head, out);
	(void)fputs("# the options of table $1\n_snap_options()\n{\n\tcase $1 in\n", out);
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (verb->help)
			put_options(verb->name, verb->options, out);
	}
	put_options("snapinit", init_options_table, out);
	(void)fputs("\tesac\n}\n\n"
		    "# what the value of option $2 of table $1 is; nothing for one without\n"
		    "_snap_value()\n{\n\tcase $1:$2 in\n",
		    out);
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (verb->help)
			put_values(verb->name, verb->options, out);
	}
	put_values("snapinit", init_options_table, out);
	(void)fputs("\tesac\n}\n\n", out);
	put_snapctl(out);
	(void)fputs(tail, out);
}
