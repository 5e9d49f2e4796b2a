/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/options.h"

#include "tests/lib/test.h"

struct target {
	bool flag;
	int count;
	const char *text;
	uint64_t wait_ms;
	uint64_t bytes;
	uint64_t number;
	int sig;
	struct option_list list;
	struct option_set set;
	const char *word;
	const char *choice;
	const char *wait_text;
	const char *number_text;
	uint64_t limit_ms;
};

#define AT(member) offsetof(struct target, member)

static const struct option_def defs[] = {
	{"flag", 'f', OPTION_FLAG, AT(flag), "TEST_FLAG", NULL, .help = "a flag"},
	{"count", 'c', OPTION_COUNT, AT(count), NULL, NULL, .help = "counts"},
	{"text", 't', OPTION_STRING, AT(text), "TEST_TEXT", "TEXT", .help = "a text"},
	{"wait", 0, OPTION_DURATION, AT(wait_ms), "TEST_WAIT", "DUR", .help = "a time"},
	{"bytes", 0, OPTION_SIZE, AT(bytes), NULL, "SIZE", .help = "a size"},
	{"number", 'n', OPTION_UINT, AT(number), NULL, "N", .help = "a number"},
	{"signal", 0, OPTION_SIGNAL, AT(sig), NULL, "SIG", .help = "a signal"},
	{"list", 'l', OPTION_LIST, AT(list), "TEST_LIST", "ITEM", .help = "a list"},
	{"choice", 0, OPTION_CHOICE, AT(choice), "TEST_CHOICE", NULL, "a choice", .key = "choice",
	 .initial = "one", .words = "one|two|three"},
	{"limit", 0, OPTION_DURATION, AT(limit_ms), NULL, "DUR", "a limit", .key = "limit",
	 .initial = "2m"},
	{"set", 's', OPTION_SET, AT(set), NULL, "N", .help = "a set"},
	{"wait-text", 0, OPTION_DURATION_TEXT, AT(wait_text), NULL, "DUR", .help = "a time"},
	{"number-text", 0, OPTION_UINT_TEXT, AT(number_text), NULL, "N", .help = "a number"},
	{"word", 0, OPTION_WORD, AT(word), NULL, "WORD", .help = "a word or none"},
	{.name = NULL},
};

static int clear_environment(void **state)
{
	(void)state;
	(void)unsetenv("TEST_FLAG");
	(void)unsetenv("TEST_TEXT");
	(void)unsetenv("TEST_WAIT");
	(void)unsetenv("TEST_LIST");
	(void)unsetenv("TEST_CHOICE");
	return 0;
}

/* words end with NULL; index of the first that is no option, or -errno */
static int parse(struct target *target, struct snap_error *err, char **words)
{
	int argc = 0, next = -1, r;

	while (words[argc])
		argc++;
	r = options_parse(defs, target, argc, words, &next, err);
	return r < 0 ? r : next;
}

#define PARSE(target, err, ...) parse((target), (err), (char *[]){W("prog"), __VA_ARGS__, NULL})
#define W(text)			((char *)(uintptr_t)(text))

static void test_every_type_is_stored(void **state)
{
	struct target t = {0};

	(void)state;
	assert_int_equal(PARSE(&t, NULL, W("--flag"), W("--count"), W("--count"), W("--text"),
			       W("x"), W("--wait=250ms"), W("--bytes"), W("2M"), W("--number=9"),
			       W("--signal"), W("TERM"), W("--list"), W("a"), W("--list=b"),
			       W("--wait-text=2m"), W("--number-text=7"), W("cmd")),
			 17);
	assert_string_equal(t.wait_text, "2m");
	assert_string_equal(t.number_text, "7");
	assert_true(t.flag);
	assert_int_equal(t.count, 2);
	assert_string_equal(t.text, "x");
	assert_int_equal(t.wait_ms, 250);
	assert_int_equal(t.bytes, 2 << 20);
	assert_int_equal(t.number, 9);
	assert_int_equal(t.sig, SIGTERM);
	assert_int_equal(t.list.n, 2);
	assert_string_equal(t.list.items[1], "b");
}

static void test_letters_may_be_joined_and_carry_a_value(void **state)
{
	struct target t = {0};

	(void)state;
	assert_int_equal(PARSE(&t, NULL, W("-fccn5"), W("-t"), W("y"), W("--"), W("-f")), 5);
	assert_true(t.flag);
	assert_int_equal(t.count, 2);
	assert_int_equal(t.number, 5);
	assert_string_equal(t.text, "y");
}

static void test_first_word_that_is_no_option_ends_them(void **state)
{
	struct target t = {0};

	(void)state;
	assert_int_equal(PARSE(&t, NULL, W("cmd"), W("--flag")), 1);
	assert_false(t.flag);
	assert_int_equal(PARSE(&t, NULL, W("-"), W("--flag")), 1);
	assert_int_equal(PARSE(&t, NULL, W("-f")), 2);
}

static void refused(const char *words, char *a, char *b)
{
	struct target t = {0};
	struct snap_error err;

	assert_int_equal(PARSE(&t, &err, a, b), -EINVAL);
	assert_int_equal(err.code, SNAP_E_USAGE);
	assert_non_null(strstr(err.msg, words));
	assert_null(strchr(err.msg, '\n'));
}

static void test_mistakes_are_named(void **state)
{
	(void)state;
	refused("unknown option '--nope' (--help lists all)", W("--nope"), W("x"));
	refused("unknown option '--fla' (did you mean --flag? --help lists all)", W("--fla"),
		W("x"));
	refused("unknown option '--cuont' (did you mean --count?", W("--cuont=1"), W("x"));
	refused("unknown option '-z' (--help lists all)", W("-fz"), W("x"));
	refused("'--flag' takes no value", W("--flag=1"), W("x"));
	refused("'--text' needs TEXT", W("-f"), W("--text"));
	refused("'-n' needs N", W("-f"), W("-n"));
	refused("--number: '9x' is no whole number, like 0", W("--number"), W("9x"));
	refused("--wait: '-1s' is no duration, like 500ms, 30s, 2m", W("--wait=-1s"), W("x"));
	refused("--wait-text: '1d' is no duration, like 500ms", W("--wait-text=1d"), W("x"));
	refused("--number-text: '-1' is no whole number", W("--number-text=-1"), W("x"));
	refused("--choice: 'on' is not one, two or three", W("--choice=on"), W("x"));
	refused("--choice: '' is not one", W("--choice="), W("x"));
	refused("'--choice' needs one|two|three", W("-f"), W("--choice"));
	refused("'NOSIG' is no signal, like TERM, SIGTERM, 15 or RTMIN+3", W("--signal"),
		W("NOSIG"));
}

static void test_flag_beats_environment_beats_default(void **state)
{
	struct target t = {.text = "default", .wait_ms = 1};

	(void)state;
	assert_int_equal(setenv("TEST_TEXT", "environment", 1), 0);
	assert_int_equal(setenv("TEST_WAIT", "2s", 1), 0);
	assert_int_equal(setenv("TEST_FLAG", "yes", 1), 0);
	assert_int_equal(setenv("TEST_LIST", "one", 1), 0);
	assert_int_equal(PARSE(&t, NULL, W("--wait"), W("3s"), W("--list"), W("two")), 5);
	assert_string_equal(t.text, "environment");
	assert_int_equal(t.wait_ms, 3000);
	assert_true(t.flag);
	assert_int_equal(t.list.n, 2);
}

static void test_bad_environment_is_named_and_empty_is_none(void **state)
{
	struct target t = {.text = "default"};
	struct snap_error err;

	(void)state;
	assert_int_equal(setenv("TEST_TEXT", "", 1), 0);
	assert_int_equal(PARSE(&t, &err, W("cmd")), 1);
	assert_string_equal(t.text, "default");
	assert_int_equal(setenv("TEST_WAIT", "soon", 1), 0);
	assert_int_equal(PARSE(&t, &err, W("cmd")), -EINVAL);
	assert_non_null(strstr(err.msg, "TEST_WAIT"));
	assert_int_equal(unsetenv("TEST_WAIT"), 0);
	assert_int_equal(setenv("TEST_FLAG", "maybe", 1), 0);
	assert_int_equal(PARSE(&t, &err, W("cmd")), -EINVAL);
	assert_non_null(strstr(err.msg, "TEST_FLAG"));
}

static void test_default_is_in_the_table(void **state)
{
	struct target t = {.choice = "before"};

	(void)state;
	assert_int_equal(PARSE(&t, NULL, W("cmd")), 1);
	assert_string_equal(t.choice, "one");
	assert_int_equal(t.limit_ms, 120000);
	assert_int_equal(PARSE(&t, NULL, W("--choice=three"), W("--limit=1s")), 3);
	assert_string_equal(t.choice, "three");
	assert_int_equal(t.limit_ms, 1000);
}

static void test_overruled_environment_is_checked_all_the_same(void **state)
{
	struct target t = {0};
	struct snap_error err;

	(void)state;
	assert_int_equal(setenv("TEST_CHOICE", "four", 1), 0);
	assert_int_equal(PARSE(&t, &err, W("--choice=two")), -EINVAL);
	assert_non_null(strstr(err.msg, "TEST_CHOICE: 'four' is not one, two or three"));
	assert_int_equal(setenv("TEST_CHOICE", "three", 1), 0);
	assert_int_equal(PARSE(&t, &err, W("--choice=two")), 2);
	assert_string_equal(t.choice, "two");
}

static void test_list_is_bounded(void **state)
{
	static char *words[OPTION_LIST_MAX + 3];
	struct target t = {0};

	(void)state;
	words[0] = W("prog");
	for (int i = 1; i <= OPTION_LIST_MAX; i++)
		words[i] = W("--list=x");
	assert_int_equal(parse(&t, NULL, words), OPTION_LIST_MAX + 1);
	assert_int_equal(t.list.n, OPTION_LIST_MAX);
	words[OPTION_LIST_MAX + 1] = W("--list=x");
	t = (struct target){0};
	assert_int_equal(parse(&t, NULL, words), -EINVAL);
}

static void test_help_names_flag_letter_argument_and_twin(void **state)
{
	snap_cleanup_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	options_print(defs, out);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "  -t, --text TEXT             a text [TEST_TEXT]\n"));
	assert_non_null(strstr(text, "      --bytes SIZE            a size\n"));
	assert_non_null(
		strstr(text, "      --choice one|two|three  a choice (one) [TEST_CHOICE]\n"));
	assert_non_null(strstr(text, "      --limit DUR             a limit (2m)\n"));
}

static void test_set_takes_numbers_one_by_one_and_with_commas(void **state)
{
	static const char *const bad[] = {"", "256", "-1", "x", "1,", ",1", "1,,2", "00000001"};
	struct target t = {0};
	int n = 0;

	(void)state;
	assert_int_equal(PARSE(&t, NULL, W("-s0"), W("-s"), W("143,255"), W("--set=64"), W("cmd")),
			 5);
	for (int i = 0; i <= OPTION_SET_MAX; i++)
		n += option_set_has(&t.set, i);
	assert_int_equal(n, 4);
	assert_true(option_set_has(&t.set, 0) && option_set_has(&t.set, 64) &&
		    option_set_has(&t.set, 143) && option_set_has(&t.set, 255));
	assert_false(option_set_has(&t.set, -1) || option_set_has(&t.set, 256));
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		struct snap_error err;

		assert_int_equal(PARSE(&t, &err, W("--set"), W(bad[i]), W("cmd")), -EINVAL);
	}
}

static void test_word_comes_with_its_option_or_not_at_all(void **state)
{
	struct target t = {0};

	(void)state;
	assert_int_equal(PARSE(&t, NULL, W("--word"), W("cmd")), 2);
	assert_string_equal(t.word, "");
	assert_int_equal(PARSE(&t, NULL, W("--word=that"), W("cmd")), 2);
	assert_string_equal(t.word, "that");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_every_type_is_stored, clear_environment),
		cmocka_unit_test(test_letters_may_be_joined_and_carry_a_value),
		cmocka_unit_test(test_first_word_that_is_no_option_ends_them),
		cmocka_unit_test(test_mistakes_are_named),
		cmocka_unit_test_setup(test_flag_beats_environment_beats_default,
				       clear_environment),
		cmocka_unit_test_setup(test_bad_environment_is_named_and_empty_is_none,
				       clear_environment),
		cmocka_unit_test_setup(test_default_is_in_the_table, clear_environment),
		cmocka_unit_test_setup(test_overruled_environment_is_checked_all_the_same,
				       clear_environment),
		cmocka_unit_test_setup(test_list_is_bounded, clear_environment),
		cmocka_unit_test(test_set_takes_numbers_one_by_one_and_with_commas),
		cmocka_unit_test(test_word_comes_with_its_option_or_not_at_all),
		cmocka_unit_test(test_help_names_flag_letter_argument_and_twin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
