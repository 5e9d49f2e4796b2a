/* SPDX-License-Identifier: Apache-2.0 */
#include "common/options.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/config_file.h"
#include "common/parse.h"
#include "common/similar.h"

#define HELP_COLUMN 30
#define HELP_WIDTH  96

/* for a value that does not count; lists always do */
union scratch {
	struct option_set set;
	bool flag;
	int number;
	uint64_t wide;
	const char *text;
	uint64_t room[8]; /* for any other type */
};

bool option_takes_value(const struct option_def *def)
{
	return def->type != OPTION_FLAG && def->type != OPTION_COUNT && def->type != OPTION_WORD;
}

const char *option_placeholder(const struct option_def *def)
{
	if (!option_takes_value(def) && def->type != OPTION_WORD)
		return NULL;
	if (def->arg)
		return def->arg;
	return def->words ? def->words : "VALUE";
}

/* --- words ------------------------------------------------------------------------------------ */

const char *option_word_next(const char **at, size_t *ret_size)
{
	const char *word = *at;

	if (!word || *word == '\0')
		return NULL;
	*ret_size = strcspn(word, "|");
	*at = word + *ret_size + (word[*ret_size] == '|');
	return word;
}

int option_word_index(const char *words, const char *word)
{
	const char *item;
	size_t size, len = strlen(word);

	for (int i = 0; (item = option_word_next(&words, &size)) != NULL; i++) {
		if (size == len && memcmp(item, word, len) == 0)
			return i;
	}
	return -EINVAL;
}

const char *option_words_text(const char *words, const char *last, char buf[OPTION_WORDS_TEXT_MAX])
{
	size_t used = 0, size;
	const char *item;

	buf[0] = '\0';
	while ((item = option_word_next(&words, &size)) != NULL && used < OPTION_WORDS_TEXT_MAX) {
		const char *before = used == 0 ? "" : *words ? ", " : last;
		int n = snprintf(buf + used, OPTION_WORDS_TEXT_MAX - used, "%s%.*s", before,
				 (int)size, item);

		used += n > 0 ? (size_t)n : 0;
	}
	return buf;
}

/* --- storing ---------------------------------------------------------------------------------- */

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

static int parse_flag(const char *text, bool *ret)
{
	if (!text || option_word_index("1|true|yes", text) >= 0)
		*ret = true;
	else if (text[0] == '\0' || option_word_index("0|false|no", text) >= 0)
		*ret = false;
	else
		return -EINVAL;
	return 0;
}

/* a value that somebody else will parse again */
static int store_text(const struct option_def *def, const char **place, const char *value)
{
	uint64_t number;
	int r = def->type == OPTION_UINT_TEXT ? parse_u64(value, &number)
					      : parse_duration_ms(value, &number);

	if (r == 0)
		*place = value;
	return r;
}

/* store value (NULL for flags) */
static int option_store(const struct option_def *def, void *place, const char *value)
{
	switch (def->type) {
	case OPTION_FLAG:
		return parse_flag(value, place);
	case OPTION_COUNT:
		++*(int *)place;
		return 0;
	case OPTION_CHOICE:
		if (option_word_index(def->words, value) < 0)
			return -EINVAL;
		*(const char **)place = value;
		return 0;
	case OPTION_STRING:
		*(const char **)place = value;
		return 0;
	case OPTION_DURATION:
		return parse_duration_ms(value, place);
	case OPTION_DURATION_TEXT:
	case OPTION_UINT_TEXT:
		return store_text(def, place, value);
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
	case OPTION_TYPE_MAX_:
		break;
	}
	return -EINVAL;
}

/* what a value of that type looks like; NULL: that is in the placeholder */
static const char *const formats[OPTION_TYPE_MAX_] = {
	[OPTION_DURATION] = "no duration, like 500ms, 30s, 2m or 1h (a bare number: seconds)",
	[OPTION_DURATION_TEXT] = "no duration, like 500ms, 30s, 2m or 1h (a bare number: seconds)",
	[OPTION_SIZE] = "no size, like 4096, 64K, 2M or 8G",
	[OPTION_UINT] = "no whole number, like 0 or 42",
	[OPTION_UINT_TEXT] = "no whole number, like 0 or 42",
	[OPTION_SIGNAL] = "no signal, like TERM, SIGTERM, 15 or RTMIN+3",
	[OPTION_SET] = "no number from 0 to 255; several have commas between",
};

static int fail_value(const struct option_def *def, const char *where, const char *value, int r,
		      struct snap_error *err)
{
	char told[OPTION_WORDS_TEXT_MAX];

	if (r == -E2BIG)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s: more than %d of them", where,
				 OPTION_LIST_MAX);
	if (def->type == OPTION_FLAG)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s: '%s' is neither 1 nor 0", where,
				 value);
	if (def->type == OPTION_CHOICE)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s: '%s' is not %s", where, value,
				 option_words_text(def->words, " or ", told));
	if (formats[def->type])
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s: '%s' is %s", where,
				 value ? value : "", formats[def->type]);
	return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s: '%s' is no valid %s", where,
			 value ? value : "", option_placeholder(def));
}

/* takes from all sources */
static bool gathers(const struct option_def *def)
{
	return def->type == OPTION_LIST || def->type == OPTION_SET;
}

/* a value that another source overrules is checked all the same */
static int take(struct options *options, const struct option_def *def, enum option_origin origin,
		const char *where, const char *value, struct snap_error *err)
{
	enum option_origin *from = &options->from[def - options->defs];
	bool counts = *from <= origin || gathers(def);
	void *place = (char *)options->target + def->offset;
	union scratch scratch = {.wide = 0};
	int r;

	r = option_store(def, counts ? place : &scratch, value);
	if (r < 0)
		return fail_value(def, where, value, r, err);
	if (!counts)
		return 0;
	if (*from < origin)
		*from = origin;
	if (options->note)
		options->note(options->note_arg, def, origin, where, value);
	return 0;
}

void options_init(struct options *options, const struct option_def *defs, void *target)
{
	*options = (struct options){.defs = defs, .target = target};
	while (defs->name)
		defs++;
	assert(defs - options->defs <= OPTIONS_MAX);
}

int options_take_environment(struct options *options, struct snap_error *err)
{
	for (const struct option_def *def = options->defs; def->name; def++) {
		const char *text = def->env ? getenv(def->env) : NULL;
		int r;

		/* set to nothing is as good as not set, but for a flag it is a no */
		if (!text || def->type == OPTION_COUNT ||
		    (text[0] == '\0' && def->type != OPTION_FLAG))
			continue;
		r = take(options, def, OPTION_FROM_ENVIRONMENT, def->env, text, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct option_def *find_key(const struct option_def *defs, const char *key)
{
	for (const struct option_def *def = defs; def && def->name; def++) {
		if (def->key && strcmp(def->key, key) == 0)
			return def;
	}
	return NULL;
}

static int fail_key(const struct option_def *defs, const struct config_file *config,
		    const struct config_line *line, struct snap_error *err)
{
	struct similar similar;

	similar_init(&similar, line->key, strlen(line->key));
	for (const struct option_def *def = defs; def->name; def++) {
		if (def->key)
			similar_try(&similar, def->key);
	}
	return snap_fail(err, SNAP_E_USAGE, EINVAL, "%s:%u: unknown key '%s'%s%s%s", config->path,
			 line->number, line->key, similar.best ? " (did you mean '" : "",
			 similar.best ? similar.best : "", similar.best ? "'?)" : "");
}

/* the line before line i that says the same key, or NULL */
static const struct config_line *find_twin(const struct config_file *config, unsigned int i)
{
	for (unsigned int k = 0; k < i; k++) {
		if (strcmp(config->lines[k].key, config->lines[i].key) == 0)
			return &config->lines[k];
	}
	return NULL;
}

int options_take_config(struct options *options, const struct config_file *config,
			const struct option_def *others, struct snap_error *err)
{
	for (unsigned int i = 0; i < config->n; i++) {
		const struct config_line *line = &config->lines[i];
		const struct option_def *def = find_key(options->defs, line->key);
		const struct config_line *twin = find_twin(config, i);
		char where[CONFIG_WHERE_MAX];
		int r;

		if (!def && find_key(others, line->key))
			continue;
		if (!def)
			return fail_key(options->defs, config, line, err);
		if (twin && !gathers(def))
			return snap_fail(err, SNAP_E_USAGE, EINVAL,
					 "%s:%u: '%s' is set in line %u already", config->path,
					 line->number, line->key, twin->number);
		(void)snprintf(where, sizeof(where), "%s:%u", config->path, line->number);
		r = take(options, def, OPTION_FROM_CONFIG, where, line->value, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int options_take_defaults(struct options *options, struct snap_error *err)
{
	for (const struct option_def *def = options->defs; def->name; def++) {
		int r;

		if (!def->initial || options->from[def - options->defs] != OPTION_DEFAULT)
			continue;
		r = take(options, def, OPTION_DEFAULT, "default", def->initial, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- the command line ------------------------------------------------------------------------- */

static const struct option_def *find_long(const struct option_def *defs, const char *name,
					  size_t len)
{
	for (const struct option_def *def = defs; def->name; def++) {
		if (strlen(def->name) == len && strncmp(def->name, name, len) == 0)
			return def;
	}
	return NULL;
}

const struct option_def *options_find(const struct option_def *defs, const char *name)
{
	return find_long(defs, name, strlen(name));
}

static const struct option_def *find_letter(const struct option_def *defs, char letter)
{
	for (const struct option_def *def = defs; def->name; def++) {
		if (def->letter == letter)
			return def;
	}
	return NULL;
}

static int take_word(struct options *options, const struct option_def *def, const char *value,
		     struct snap_error *err)
{
	char where[64];

	(void)snprintf(where, sizeof(where), "--%s", def->name);
	return take(options, def, OPTION_FROM_WORD, where, value, err);
}

static int fail_name(const struct option_def *defs, const char *word, size_t len,
		     struct snap_error *err)
{
	struct similar similar;

	similar_init(&similar, word, len);
	for (const struct option_def *def = defs; def->name; def++)
		similar_try(&similar, def->name);
	return snap_fail(err, SNAP_E_USAGE, EINVAL,
			 "unknown option '--%.*s' (%s%s%s--help lists all)", (int)len, word,
			 similar.best ? "did you mean --" : "", similar.best ? similar.best : "",
			 similar.best ? "? " : "");
}

static int parse_long(struct options *options, int argc, char **argv, int *at,
		      struct snap_error *err)
{
	const char *word = argv[*at] + 2;
	size_t len = strcspn(word, "=");
	const struct option_def *def = find_long(options->defs, word, len);
	const char *value = word[len] == '=' ? word + len + 1 : NULL;

	if (!def)
		return fail_name(options->defs, word, len, err);
	if (!option_takes_value(def)) {
		if (value && def->type != OPTION_WORD)
			return snap_fail(err, SNAP_E_USAGE, EINVAL, "option '--%s' takes no value",
					 def->name);
	} else if (!value) {
		/* the end of our options is nobody's value */
		if (*at + 1 >= argc || strcmp(argv[*at + 1], "--") == 0)
			return snap_fail(err, SNAP_E_USAGE, EINVAL, "option '--%s' needs %s",
					 def->name, option_placeholder(def));
		value = argv[++*at];
	}
	return take_word(options, def, value, err);
}

static int parse_letters(struct options *options, int argc, char **argv, int *at,
			 struct snap_error *err)
{
	for (const char *p = argv[*at] + 1; *p; p++) {
		const struct option_def *def = find_letter(options->defs, *p);
		const char *value = NULL;
		int r;

		if (!def)
			return snap_fail(err, SNAP_E_USAGE, EINVAL,
					 "unknown option '-%c' (--help lists all)", *p);
		if (option_takes_value(def)) {
			if (p[1])
				value = p + 1;
			else if (*at + 1 < argc)
				value = argv[++*at];
			else
				return snap_fail(err, SNAP_E_USAGE, EINVAL, "option '-%c' needs %s",
						 *p, option_placeholder(def));
		}
		r = take_word(options, def, value, err);
		if (r < 0 || value)
			return r;
	}
	return 0;
}

int options_take_words(struct options *options, int argc, char **argv, int *ret_next,
		       struct snap_error *err)
{
	int at;

	for (at = 1; at < argc; at++) {
		int r;

		if (strcmp(argv[at], "--") == 0) {
			at++;
			break;
		}
		if (argv[at][0] != '-' || argv[at][1] == '\0')
			break;
		if (argv[at][1] == '-')
			r = parse_long(options, argc, argv, &at, err);
		else
			r = parse_letters(options, argc, argv, &at, err);
		if (r < 0)
			return r;
	}
	*ret_next = at;
	return 0;
}

int options_parse(const struct option_def *defs, void *target, int argc, char **argv, int *ret_next,
		  struct snap_error *err)
{
	struct options options;
	int next, r;

	options_init(&options, defs, target);
	r = options_take_words(&options, argc, argv, &next, err);
	if (r == 0)
		r = options_take_environment(&options, err);
	if (r == 0)
		r = options_take_defaults(&options, err);
	if (r == 0)
		*ret_next = next;
	return r;
}

/* --- help ------------------------------------------------------------------------------------- */

/* words from column HELP_COLUMN on, the first line's place is reached */
static void print_wrapped(const char *text, FILE *out)
{
	int room = HELP_WIDTH - HELP_COLUMN;

	for (;;) {
		int n = (int)strlen(text), at = n > room ? room : n;

		while (n > room && at > 0 && text[at] != ' ')
			at--;
		if (at == 0)
			at = (int)strcspn(text, " "); /* too long for any line */
		(void)fprintf(out, "%.*s\n", at, text);
		text += at + strspn(text + at, " ");
		if (*text == '\0')
			return;
		(void)fprintf(out, "%*s", HELP_COLUMN, "");
	}
}

static void describe(const struct option_def *def, char *buf, size_t size)
{
	char words[OPTION_WORDS_TEXT_MAX] = "";
	bool told = def->words && def->type != OPTION_CHOICE;

	if (told)
		(void)option_words_text(def->words, ", ", words);
	(void)snprintf(buf, size, "%s%s%s%s%s%s%s%s%s", def->help, told ? ": " : "", words,
		       def->initial ? " (" : "", def->initial ? def->initial : "",
		       def->initial ? ")" : "", def->env ? " [" : "", def->env ? def->env : "",
		       def->env ? "]" : "");
}

void options_print(const struct option_def *defs, FILE *out)
{
	for (const struct option_def *def = defs; def->name; def++) {
		const char *value = option_placeholder(def);
		bool may = def->type == OPTION_WORD; /* --name[=WORD] */
		char left[120], letter[8] = "    ", right[768];
		int n;

		if (def->letter)
			(void)snprintf(letter, sizeof(letter), "-%c, ", def->letter);
		n = snprintf(left, sizeof(left), "  %s--%s%s%s%s", letter, def->name,
			     may     ? "[="
			     : value ? " "
				     : "",
			     value ? value : "", may ? "]" : "");
		if (n >= HELP_COLUMN - 1)
			(void)fprintf(out, "%s\n%*s", left, HELP_COLUMN, "");
		else
			(void)fprintf(out, "%-*s", HELP_COLUMN, left);
		describe(def, right, sizeof(right));
		print_wrapped(right, out);
	}
}
