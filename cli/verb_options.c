/* SPDX-License-Identifier: Apache-2.0 */
/* Hidden: the tables of options as JSON, for tools/make_man.py and for tests. */
#include <jansson.h>

#include "cli/output.h"
#include "cli/verbs.h"
#include "common/init_options.h"

static json_t *option_json(const struct option_def *def)
{
	char letter[2] = {def->letter, '\0'};

	return json_pack("{s:s, s:s?, s:s?, s:s?, s:s?, s:s?, s:s?, s:b, s:b, s:s}", "name",
			 def->name, "letter", def->letter ? letter : NULL, "value",
			 option_placeholder(def), "env", def->env, "key", def->key, "default",
			 def->initial, "words", def->words, "choice", def->type == OPTION_CHOICE,
			 "repeatable", def->type == OPTION_LIST || def->type == OPTION_COUNT,
			 "help", def->help);
}

static json_t *table_json(const struct option_def *defs)
{
	json_t *list = json_array();

	for (; defs->name; defs++)
		(void)json_array_append_new(list, option_json(defs));
	return list;
}

int verb_options(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	json_t *verbs = json_array();

	(void)verb;
	(void)argc;
	(void)argv;
	for (const struct verb *each = verbs_table; each->name; each++) {
		if (each->help)
			(void)json_array_append_new(
				verbs, json_pack("{s:s, s:s, s:s, s:o}", "name", each->name,
						 "usage", each->usage, "help", each->help,
						 "options", table_json(each->options)));
	}
	return output_json(json_pack("{s:s, s:s, s:o, s:o}", "schema", "snapctl.options/v1",
				     "version", SNAP_VERSION, "verbs", verbs, "snapinit",
				     table_json(init_options_table)),
			   err) < 0
		       ? VERB_FAILED
		       : 0;
}
