/* SPDX-License-Identifier: Apache-2.0 */
#include "common/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/parse.h"

#define HELP_COLUMN 30

static bool takes_value(const struct option_def *def)
{
	return def->type != OPTION_FLAG && def->type != OPTION_COUNT && def->type != OPTION_WORD;
}

static int add_to_list(struct option_list *list, const char *value)
{
	if (list->n >= OPTION_LIST_MAX)
		return -E2BIG;
	list->items[list->n++] = value;
	return 0;
}

static int add_to_set(struct option_set *set, const char *value)
{
	for (;;) {
		size_t len = strcspn(value, ",");
		char digits[8];
		int n;

		if (len >= sizeof(digits))
			return -EINVAL;
		memcpy(digits, value, len);
		digits[len] = '\0';
		if (parse_int(digits, 0, OPTION_SET_MAX, &n) < 0)
			return -EINVAL;
		set->bits[n / 64] |= UINT64_C(1) << (n % 64);
		if (value[len] == '\0')
			return 0;
		value += len + 1;
	}
}

/* store value (NULL for flags) in the caller's struct */
static int option_store(const struct option_def *def, void *target, const char *value)
{
	void *place = (char *)target + def->offset;

	switch (def->type) {
	case OPTION_FLAG:
		*(bool *)place = true;
		return 0;
	case OPTION_COUNT:
		++*(int *)place;
		return 0;
	case OPTION_STRING:
		*(const char **)place = value;
		return 0;
	case OPTION_DURATION:
		return parse_duration_ms(value, place);
	case OPTION_SIZE:
		return parse_size(value, place);
	case OPTION_UINT:
		return parse_u64(value, place);
	case OPTION_SIGNAL:
		return parse_signal(value, place);
	case OPTION_LIST:
		return add_to_list(place, value);
	case OPTION_SET:
		return add_to_set(place, value);
	case OPTION_WORD:
		*(const char **)place = value ? value : "";
		return 0;
	}
	return -EINVAL;
}

static int store_checked(const struct option_def *def, void *target, const char *value,
			 const char *where, struct snap_error *err)
{
	int r = option_store(def, target, value);

	if (r < 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s: '%s' is no valid %s", where,
				 value ? value : "", def->arg ? def->arg : "value");
	return 0;
}

static int env_flag(const char *text, bool *ret)
{
	if (strcmp(text, "1") == 0 || strcmp(text, "true") == 0 || strcmp(text, "yes") == 0)
		*ret = true;
	else if (strcmp(text, "") == 0 || strcmp(text, "0") == 0 || strcmp(text, "false") == 0 ||
		 strcmp(text, "no") == 0)
		*ret = false;
	else
		return -EINVAL;
	return 0;
}

static int take_environment(const struct option_def *defs, void *target, struct snap_error *err)
{
	for (const struct option_def *def = defs; def->name; def++) {
		const char *text = def->env ? getenv(def->env) : NULL;
		int r;

		if (!text)
			continue;
		if (def->type == OPTION_FLAG) {
			r = env_flag(text, (bool *)((char *)target + def->offset));
			if (r < 0)
				return snap_fail(err, SNAP_E_USAGE, EINVAL,
						 "%s: '%s' is neither 1 nor 0", def->env, text);
			continue;
		}
		if (text[0] == '\0' || def->type == OPTION_COUNT)
			continue;
		r = store_checked(def, target, text, def->env, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct option_def *find_long(const struct option_def *defs, const char *name,
					  size_t len)
{
	for (const struct option_def *def = defs; def->name; def++) {
		if (strlen(def->name) == len && strncmp(def->name, name, len) == 0)
			return def;
	}
	return NULL;
}

static const struct option_def *find_letter(const struct option_def *defs, char letter)
{
	for (const struct option_def *def = defs; def->name; def++) {
		if (def->letter == letter)
			return def;
	}
	return NULL;
}

static int parse_long(const struct option_def *defs, void *target, int argc, char **argv, int *at,
		      struct snap_error *err)
{
	const char *word = argv[*at] + 2;
	size_t len = strcspn(word, "=");
	const struct option_def *def = find_long(defs, word, len);
	const char *value = word[len] == '=' ? word + len + 1 : NULL;
	char where[64];

	if (!def)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "unknown option '%s'", argv[*at]);
	if (!takes_value(def)) {
		if (value && def->type != OPTION_WORD)
			return snap_fail(err, SNAP_E_USAGE, EINVAL, "option '--%s' takes no value",
					 def->name);
	} else if (!value) {
		/* the end of our options is nobody's value */
		if (*at + 1 >= argc || strcmp(argv[*at + 1], "--") == 0)
			return snap_fail(err, SNAP_E_USAGE, EINVAL, "option '--%s' needs %s",
					 def->name, def->arg);
		value = argv[++*at];
	}
	(void)snprintf(where, sizeof(where), "--%s", def->name);
	return store_checked(def, target, value, where, err);
}

static int parse_letters(const struct option_def *defs, void *target, int argc, char **argv,
			 int *at, struct snap_error *err)
{
	for (const char *p = argv[*at] + 1; *p; p++) {
		const struct option_def *def = find_letter(defs, *p);
		const char *value = NULL;
		int r;

		if (!def)
			return snap_fail(err, SNAP_E_USAGE, EINVAL, "unknown option '-%c'", *p);
		if (takes_value(def)) {
			if (p[1])
				value = p + 1;
			else if (*at + 1 < argc)
				value = argv[++*at];
			else
				return snap_fail(err, SNAP_E_USAGE, EINVAL, "option '-%c' needs %s",
						 *p, def->arg);
		}
		r = store_checked(def, target, value, def->name, err);
		if (r < 0 || value)
			return r;
	}
	return 0;
}

int options_parse(const struct option_def *defs, void *target, int argc, char **argv, int *ret_next,
		  struct snap_error *err)
{
	int at, r;

	r = take_environment(defs, target, err);
	if (r < 0)
		return r;
	for (at = 1; at < argc; at++) {
		if (strcmp(argv[at], "--") == 0) {
			at++;
			break;
		}
		if (argv[at][0] != '-' || argv[at][1] == '\0')
			break;
		if (argv[at][1] == '-')
			r = parse_long(defs, target, argc, argv, &at, err);
		else
			r = parse_letters(defs, target, argc, argv, &at, err);
		if (r < 0)
			return r;
	}
	*ret_next = at;
	return 0;
}

void options_print(const struct option_def *defs, FILE *out)
{
	for (const struct option_def *def = defs; def->name; def++) {
		char left[80];
		int n;

		const char *arg = def->arg ? def->arg : "";
		const char *before = def->type == OPTION_WORD ? "[=" : def->arg ? " " : "";
		const char *after = def->type == OPTION_WORD ? "]" : "";

		if (def->letter)
			n = snprintf(left, sizeof(left), "  -%c, --%s%s%s%s", def->letter,
				     def->name, before, arg, after);
		else
			n = snprintf(left, sizeof(left), "      --%s%s%s%s", def->name, before, arg,
				     after);
		if (n >= HELP_COLUMN - 1)
			(void)fprintf(out, "%s\n%*s%s", left, HELP_COLUMN, "", def->help);
		else
			(void)fprintf(out, "%-*s%s", HELP_COLUMN, left, def->help);
		if (def->env)
			(void)fprintf(out, " [%s]", def->env);
		(void)fputc('\n', out);
	}
}
