/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/completion.h"
#include "cli/verbs.h"
#include "common/init_options.h"
#include "engine/engine.h"

#include "tests/lib/test.h"

static void for_each_table(void (*check)(const char *name, const struct option_def *defs))
{
	check("snapinit", init_options_table);
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (verb->options)
			check(verb->name, verb->options);
	}
}

static const struct option_def *find_key(const char *key)
{
	for (const struct option_def *def = init_options_table; def->name; def++) {
		if (def->key && strcmp(def->key, key) == 0)
			return def;
	}
	return NULL;
}

static void check_entries(const char *name, const struct option_def *defs)
{
	size_t n = 0;

	for (const struct option_def *def = defs; def->name; def++, n++) {
		if (options_find(defs, def->name) != def)
			fail_msg("%s: --%s is there twice", name, def->name);
		for (const struct option_def *other = defs; other != def; other++) {
			if (def->letter && def->letter == other->letter)
				fail_msg("%s: -%c is there twice", name, def->letter);
		}
		if (!def->help || !def->help[0])
			fail_msg("%s: --%s has no help", name, def->name);
		if (def->type == OPTION_CHOICE && !def->words)
			fail_msg("%s: --%s has no words", name, def->name);
		/* the file is one for all, and what it says is checked against snapinit's table */
		if (def->key && !find_key(def->key))
			fail_msg("%s: key '%s' of --%s is none of snapinit's", name, def->key,
				 def->name);
	}
	assert_in_range(n, 1, OPTIONS_MAX);
}

static void test_tables_are_sound(void **state)
{
	(void)state;
	for_each_table(check_entries);
}

/* room for the largest struct behind a table */
static union {
	char bytes[1 << 16];
	uint64_t aligned;
} room;

static void check_defaults(const char *name, const struct option_def *defs)
{
	struct snap_error err = {.code = SNAP_OK};
	struct options options;

	for (const struct option_def *def = defs; def->name; def++)
		assert_true(def->offset + sizeof(struct option_list) <= sizeof(room));
	memset(&room, 0, sizeof(room));
	options_init(&options, defs, &room);
	if (options_take_defaults(&options, &err) < 0)
		fail_msg("%s: %s", name, err.msg);
}

static void test_defaults_are_valid(void **state)
{
	(void)state;
	for_each_table(check_defaults);
}

static void test_every_verb_has_what_help_and_completion_want(void **state)
{
	(void)state;
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		assert_non_null(verb->run);
		if (!verb->help)
			continue;
		assert_non_null(verb->options);
		assert_non_null(options_find(verb->options, "help"));
		assert_int_equal(verb->words == VERB_WORDS_CHOICE, verb->choices != NULL);
		assert_ptr_equal(verbs_find(verb->name, NULL), verb);
	}
	assert_null(verbs_find("nope", NULL));
}

static void test_engine_words_are_adapters(void **state)
{
	static char program[] = "/bin/true", option[] = "--port", port[] = "1";
	static char *argv[] = {program, option, port, NULL};
	const char *words = INIT_OPTIONS_ENGINES, *word;
	size_t size;

	(void)state;
	while ((word = option_word_next(&words, &size)) != NULL) {
		char name[32];
		struct engine_config config = {
			.adapter = name,
			.ready = strncmp(word, "http", 4) == 0	? "http://127.0.0.1:1/"
				 : strncmp(word, "tcp", 3) == 0 ? "tcp:127.0.0.1:1"
								: NULL,
			.warmup = -1,
			.argv = argv,
		};
		struct snap_error err = {.code = SNAP_OK};
		struct engine engine;

		(void)snprintf(name, sizeof(name), "%.*s", (int)size, word);
		if (engine_init(&engine, &config, &err) < 0)
			fail_msg("%s: %s", name, err.msg);
	}
}

static void test_words_become_candidates(void **state)
{
	struct completion_words words;

	(void)state;
	completion_of_choices("http://HOST:PORT|tcp:HOST|fd|GET URL|none", &words);
	assert_int_equal(words.kind, COMPLETE_WORDS);
	assert_string_equal(words.words, "http:// tcp: fd none");
	completion_of_option(options_find(init_options_table, "snapshot"), &words);
	assert_int_equal(words.kind, COMPLETE_DIR);
	completion_of_option(options_find(init_options_table, "grace"), &words);
	assert_int_equal(words.kind, COMPLETE_ANY);
	assert_int_equal(completion_print("sh", stdout), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables_are_sound),
		cmocka_unit_test(test_defaults_are_valid),
		cmocka_unit_test(test_every_verb_has_what_help_and_completion_want),
		cmocka_unit_test(test_engine_words_are_adapters),
		cmocka_unit_test(test_words_become_candidates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
