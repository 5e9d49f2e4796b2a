/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/relay.h"
#include "common/fd.h"

#include "tests/lib/test.h"

#define FAILED                                                                                 \
	"{\"ts\":\"2026\",\"level\":\"warn\",\"comp\":\"snapinit\",\"event\":\"wake.failed\"," \
	"\"code\":\"oracle-mismatch\",\"msg\":\"another answer\"}\n"
#define DONE                                                                                 \
	"{\"ts\":\"2026\",\"level\":\"info\",\"comp\":\"snapinit\",\"event\":\"wake.done\"," \
	"\"dur_ms\":81,\"msg\":\"awake\"}\n"
#define FOREIGN "{\"ts\":\"2026\",\"comp\":\"engine\",\"event\":\"wake.failed\",\"msg\":\"x\"}\n"

struct fixture {
	struct relay relay;
	int write_end;
	int out;
	char text[65536];
};

static int setup(void **state)
{
	static struct fixture f;

	f.out = memfd_create("out", MFD_CLOEXEC);
	*state = &f;
	return f.out < 0 ? -1 : relay_open(&f.relay, f.out, &f.write_end, NULL);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	relay_close(&f->relay);
	(void)fd_close(f->write_end);
	(void)fd_close(f->out);
	return 0;
}

static const char *passed_on(struct fixture *f)
{
	ssize_t n = pread(f->out, f->text, sizeof(f->text) - 1, 0);

	assert_true(n >= 0);
	f->text[n] = '\0';
	return f->text;
}

static void take(struct fixture *f, const char *text)
{
	relay_take(&f->relay, text, strlen(text));
}

static void test_words_without_a_newline_pass_at_once(void **state)
{
	struct fixture *f = *state;

	take(f, "loading 5%");
	assert_string_equal(passed_on(f), "loading 5%");
}

static void test_record_is_understood_and_not_passed_on(void **state)
{
	struct fixture *f = *state;

	take(f, "a\n" FAILED "b\n");
	assert_string_equal(passed_on(f), "a\nb\n");
	assert_int_equal(f->relay.news.failure.code, SNAP_E_ORACLE);
	assert_string_equal(f->relay.news.failure.msg, "another answer");
}

static void test_record_is_passed_on_when_wanted(void **state)
{
	struct fixture *f = *state;

	f->relay.records = true;
	take(f, DONE);
	assert_string_equal(passed_on(f), DONE);
	assert_true(f->relay.news.wake_ms == 81);
}

static void test_on_a_terminal_a_record_is_text(void **state)
{
	struct fixture *f = *state;

	f->relay.records = true;
	f->relay.as_text = true;
	take(f, FAILED DONE);
	assert_string_equal(passed_on(f), "snapinit: warn: another answer\nsnapinit: awake\n");
}

static void test_record_in_single_bytes_is_understood(void **state)
{
	struct fixture *f = *state;

	for (const char *p = "x" FAILED "y"; *p; p++)
		relay_take(&f->relay, p, 1);
	assert_string_equal(passed_on(f), "xy");
	assert_int_equal(f->relay.news.failure.code, SNAP_E_ORACLE);
}

static void test_record_in_the_middle_of_the_engines_line_is_understood(void **state)
{
	struct fixture *f = *state;

	take(f, "loading ");
	take(f, FAILED);
	take(f, "done\n");
	assert_string_equal(passed_on(f), "loading done\n");
	assert_int_equal(f->relay.news.failure.code, SNAP_E_ORACLE);
}

static void test_json_of_the_engine_is_its_own(void **state)
{
	struct fixture *f = *state;

	take(f, FOREIGN "{\"ts\":\"broken\n{\"a\":1}\n");
	assert_string_equal(passed_on(f), FOREIGN "{\"ts\":\"broken\n{\"a\":1}\n");
	assert_int_equal(f->relay.news.failure.code, SNAP_OK);
}

static void test_endless_line_that_begins_like_a_record_passes(void **state)
{
	struct fixture *f = *state;
	char part[1000];

	memset(part, 'z', sizeof(part));
	take(f, "{\"ts\":\"");
	for (int i = 0; i < 20; i++)
		relay_take(&f->relay, part, sizeof(part));
	relay_close(&f->relay);
	assert_int_equal(strlen(passed_on(f)), 7 + 20 * sizeof(part));
}

static void test_rest_of_a_cut_record_is_not_lost(void **state)
{
	struct fixture *f = *state;

	take(f, "{\"ts\":\"20");
	assert_string_equal(passed_on(f), "");
	relay_close(&f->relay);
	assert_string_equal(passed_on(f), "{\"ts\":\"20");
}

static void test_unknown_code_is_internal(void **state)
{
	struct fixture *f = *state;

	take(f, "{\"ts\":\"1\",\"comp\":\"snapinit\",\"event\":\"capture.failed\","
		"\"code\":\"worker\",\"msg\":\"it died\"}\n");
	assert_int_equal(f->relay.news.failure.code, SNAP_E_INTERNAL);
}

static void test_end_of_file_is_told(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(write(f->write_end, "hello", 5), 5);
	assert_int_equal(relay_turn(&f->relay), 0);
	assert_int_equal(relay_turn(&f->relay), 0); /* nothing there, nothing wrong */
	f->write_end = fd_close(f->write_end);
	assert_int_equal(relay_turn(&f->relay), 1);
	assert_string_equal(passed_on(f), "hello");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_words_without_a_newline_pass_at_once, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_record_is_understood_and_not_passed_on, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_record_is_passed_on_when_wanted, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_on_a_terminal_a_record_is_text, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_record_in_single_bytes_is_understood, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_record_in_the_middle_of_the_engines_line_is_understood, setup,
			teardown),
		cmocka_unit_test_setup_teardown(test_json_of_the_engine_is_its_own, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_endless_line_that_begins_like_a_record_passes,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_rest_of_a_cut_record_is_not_lost, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_unknown_code_is_internal, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_of_file_is_told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
