/* SPDX-License-Identifier: Apache-2.0 */
/* What snapinit would go by if it were started here and now with these options, and why. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/output.h"
#include "cli/verbs.h"
#include "common/cleanup.h"
#include "common/init_options.h"

struct config_options {
	struct verb_common common;
	bool show_origin;
};

#define AT(member) offsetof(struct config_options, member)

const struct option_def verb_config_options[] = {
	{"show-origin", 0, OPTION_FLAG, AT(show_origin), NULL, NULL,
	 .help = "tell where each value comes from"},
	{"json", 0, OPTION_FLAG, AT(common.json), NULL, NULL, .help = "print the result as JSON"},
	{"config", 0, OPTION_STRING, AT(common.config_path), NULL, "FILE",
	 "as --config FILE of snapinit", .value = OPTION_VALUE_FILE},
	VERB_HELP_OPTION(struct config_options, common.help),
	{.name = NULL},
};

/* a value that counts */
struct setting {
	const struct option_def *def;
	enum option_origin origin;
	char *where;
	const char *value;
};

struct settings {
	struct setting *items;
	size_t n;
	bool no_memory;
};

static struct setting *find(struct settings *settings, const struct option_def *def)
{
	for (size_t i = 0; i < settings->n; i++) {
		if (settings->items[i].def == def)
			return &settings->items[i];
	}
	return NULL;
}

static struct setting *add(struct settings *settings)
{
	struct setting *bigger =
		reallocarray(settings->items, settings->n + 1, sizeof(*settings->items));

	if (!bigger)
		return NULL;
	settings->items = bigger;
	bigger[settings->n] = (struct setting){.def = NULL};
	return &bigger[settings->n++];
}

static void note(void *arg, const struct option_def *def, enum option_origin origin,
		 const char *where, const char *value)
{
	struct settings *settings = arg;
	struct setting *setting = def->type == OPTION_LIST ? NULL : find(settings, def);

	if (!setting)
		setting = add(settings);
	if (!setting) {
		settings->no_memory = true;
		return;
	}
	free(setting->where);
	*setting = (struct setting){def, origin, strdup(where), value ? value : "yes"};
	settings->no_memory |= !setting->where;
}

static void settings_done(struct settings *settings)
{
	for (size_t i = 0; i < settings->n; i++)
		free(settings->items[i].where);
	free(settings->items);
}

/* help and the like are no settings */
static bool is_setting(const struct option_def *def)
{
	return def->env != NULL;
}

static const char *value_unset(const struct option_def *def)
{
	return def->type == OPTION_FLAG ? "no" : NULL;
}

#define VALUE_WIDTH_MAX 40 /* one that is longer pushes its origin to the right */

/* of the columns name and value */
struct widths {
	int name;
	int value;
};

static void widen(int *width, const char *text, int max)
{
	int n = (int)strlen(text);

	if (n > *width && n <= max)
		*width = n;
}

static struct widths find_widths(const struct settings *settings)
{
	struct widths widths = {.name = 0, .value = (int)strlen("value")};

	for (const struct option_def *def = init_options_table; def->name; def++) {
		if (is_setting(def))
			widen(&widths.name, def->name, INT_MAX);
	}
	for (size_t i = 0; i < settings->n; i++)
		widen(&widths.value, settings->items[i].value, VALUE_WIDTH_MAX);
	return widths;
}

static void print_line(const struct option_def *def, const char *value, const char *where,
		       const struct widths *widths)
{
	if (widths)
		(void)printf("%-*s  %-*s  %s\n", widths->name, def->name, widths->value,
			     value ? value : "-", where);
	else if (value && def->key)
		(void)printf("%s = %s\n", def->key, value);
	else if (def->key)
		(void)printf("# %s\n", def->key);
}

static void print_text(struct settings *settings, bool show_origin)
{
	struct widths found = find_widths(settings);
	const struct widths *widths = show_origin ? &found : NULL;

	if (show_origin)
		(void)printf("%-*s  %-*s  %s\n", found.name, "setting", found.value, "value",
			     "from");
	for (const struct option_def *def = init_options_table; def->name; def++) {
		if (!is_setting(def))
			continue;
		if (!find(settings, def))
			print_line(def, value_unset(def), "default", widths);
		for (size_t i = 0; i < settings->n; i++) {
			const struct setting *s = &settings->items[i];
			char where[CONFIG_WHERE_MAX + 16];

			if (s->def != def)
				continue;
			(void)snprintf(where, sizeof(where), "%s%s",
				       s->origin == OPTION_FROM_ENVIRONMENT ? "environment " : "",
				       s->where);
			print_line(def, s->value, where, widths);
		}
	}
}

static json_t *setting_json(const struct option_def *def, const char *value, const char *origin,
			    const char *where)
{
	return json_pack("{s:s, s:s?, s:s, s:s?}", "name", def->name, "value", value, "origin",
			 origin, "where", where);
}

static int print_json(struct settings *settings, const struct init_options *init,
		      struct snap_error *err)
{
	static const char *const origins[] = {
		[OPTION_DEFAULT] = "default",
		[OPTION_FROM_CONFIG] = "file",
		[OPTION_FROM_ENVIRONMENT] = "environment",
		[OPTION_FROM_WORD] = "flag",
	};
	const char *file = init->config.path[0] ? init->config.path : NULL;
	json_t *list = json_array();

	for (const struct option_def *def = init_options_table; def->name; def++) {
		if (!is_setting(def))
			continue;
		if (!find(settings, def))
			(void)json_array_append_new(
				list, setting_json(def, value_unset(def), "default", NULL));
		for (size_t i = 0; i < settings->n; i++) {
			const struct setting *s = &settings->items[i];

			if (s->def == def)
				(void)json_array_append_new(
					list, setting_json(def, s->value, origins[s->origin],
							   s->origin == OPTION_DEFAULT ? NULL
										       : s->where));
		}
	}
	return output_json(json_pack("{s:s, s:s?, s:o}", "schema", "snapctl.config/v1", "file",
				     file, "settings", list),
			   err);
}

/* "snapinit [--config FILE] options…"; the caller's to free */
static char **make_argv(char **options, int n, const char *config, int *ret_argc)
{
	static char name[] = "snapinit", option[] = "--config";
	char **argv = calloc((size_t)n + 4, sizeof(*argv));
	int argc = 0;

	if (!argv)
		return NULL;
	argv[argc++] = name;
	if (config) {
		argv[argc++] = option;
		argv[argc++] = (char *)(uintptr_t)config;
	}
	for (int i = 0; i < n; i++)
		argv[argc++] = options[i];
	*ret_argc = argc;
	return argv;
}

int verb_config(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct config_options options = {.show_origin = false};
	struct settings settings = {.items = NULL};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	snap_cleanup_free char **words = NULL;
	static struct init_options init;
	int n_words, r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	words = make_argv(argv + next, argc - next, options.common.config_path, &n_words);
	if (!words)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory"), VERB_FAILED;
	r = init_options_parse_noted(&init, n_words, words, note, &settings, err);
	if (r == 0 && settings.no_memory)
		r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory");
	if (r == 0 && options.common.json)
		r = print_json(&settings, &init, err);
	else if (r == 0)
		print_text(&settings, options.show_origin);
	settings_done(&settings);
	return r < 0 ? VERB_FAILED : 0;
}
