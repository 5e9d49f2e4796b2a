/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"

#include "tests/lib/test.h"

static int fds[2];

static int make_pipe(void **state)
{
	(void)state;
	return pipe2(fds, O_CLOEXEC | O_NONBLOCK);
}

static int close_pipe(void **state)
{
	(void)state;
	log_set_fd(-1);
	(void)fd_close(fds[0]);
	(void)fd_close(fds[1]);
	return 0;
}

/* what was logged, as text */
static const char *logged(void)
{
	static char buf[65536 + 1];
	ssize_t n = read(fds[0], buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void test_record_is_one_json_line(void **state)
{
	const char *text;

	(void)state;
	log_init("tester", fds[1], LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	log_write(LOG_LEVEL_WARN, "noun.verb",
		  (struct log_field[]){LOG_TEXT("name", "a\"b"), LOG_UINT("n", 7)}, 2, "said %d",
		  3);
	text = logged();
	assert_memory_equal(text, "{\"ts\":\"20", 9);
	assert_non_null(strstr(text,
			       "Z\",\"level\":\"warn\",\"comp\":\"tester\",\"event\":\"noun.verb\","
			       "\"name\":\"a\\\"b\",\"n\":7,\"msg\":\"said 3\"}\n"));
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void test_text_names_the_level_of_trouble_only(void **state)
{
	(void)state;
	log_init("tester", fds[1], LOG_FORMAT_TEXT, LOG_LEVEL_INFO);
	log_error("a.b", "broken");
	assert_string_equal(logged(), "tester: error: broken\n");
	log_write(LOG_LEVEL_INFO, "a.b", (struct log_field[]){LOG_UINT("n", 7)}, 1, "fine");
	assert_string_equal(logged(), "tester: fine n=7\n");
}

static void test_pipe_gets_json_by_itself(void **state)
{
	(void)state;
	log_init("tester", fds[1], LOG_FORMAT_AUTO, LOG_LEVEL_INFO);
	log_info("a.b", "x");
	assert_int_equal(logged()[0], '{');
}

static void test_lower_levels_are_silent(void **state)
{
	(void)state;
	log_init("tester", fds[1], LOG_FORMAT_JSON, LOG_LEVEL_WARN);
	assert_int_equal(log_level_get(), LOG_LEVEL_WARN);
	log_info("a.b", "x");
	log_debug("a.b", "x");
	assert_string_equal(logged(), "");
	log_warn("a.b", "x");
	assert_string_not_equal(logged(), "");
}

static void test_errno_is_kept(void **state)
{
	(void)state;
	log_init("tester", -1, LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	errno = EXDEV;
	log_error("a.b", "nowhere to go");
	assert_int_equal(errno, EXDEV);
	log_init("tester", fds[1], LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	errno = EXDEV;
	log_error("a.b", "x");
	assert_int_equal(errno, EXDEV);
}

static void test_full_pipe_drops_and_tells_how_many(void **state)
{
	char fill[4096];

	(void)state;
	log_init("tester", fds[1], LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	memset(fill, 'x', sizeof(fill));
	while (write(fds[1], fill, sizeof(fill)) > 0)
		;
	log_info("a.b", "lost");
	log_info("a.b", "lost");
	(void)logged();
	log_info("a.b", "heard");
	assert_non_null(strstr(logged(), "\"dropped\":2,\"msg\":\"heard\""));
	log_info("a.b", "again");
	assert_null(strstr(logged(), "dropped"));
}

static void test_huge_record_stays_one_json_line_below_its_limit(void **state)
{
	char text[3000];
	const char *got;

	(void)state;
	log_init("tester", fds[1], LOG_FORMAT_JSON, LOG_LEVEL_INFO);
	memset(text, '\x01', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_write(LOG_LEVEL_INFO, "a.b", (struct log_field[]){LOG_TEXT("t", text)}, 1, "%s", text);
	got = logged();
	assert_in_range(strlen(got), 3000, 4096);
	assert_int_equal(got[0], '{');
	assert_string_equal(got + strlen(got) - 3, "\"}\n");
}

static void test_words_for_level_and_format(void **state)
{
	enum log_level level;
	enum log_format format;

	(void)state;
	assert_int_equal(log_level_parse("debug", &level), 0);
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_int_equal(log_level_parse("Debug", &level), -EINVAL);
	assert_int_equal(log_format_parse("text", &format), 0);
	assert_int_equal(format, LOG_FORMAT_TEXT);
	assert_int_equal(log_format_parse("auto", &format), 0);
	assert_int_equal(format, LOG_FORMAT_AUTO);
	assert_int_equal(log_format_parse("xml", &format), -EINVAL);
}

#define WITH_PIPE(test) cmocka_unit_test_setup_teardown(test, make_pipe, close_pipe)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PIPE(test_record_is_one_json_line),
		WITH_PIPE(test_text_names_the_level_of_trouble_only),
		WITH_PIPE(test_pipe_gets_json_by_itself),
		WITH_PIPE(test_lower_levels_are_silent),
		WITH_PIPE(test_errno_is_kept),
		WITH_PIPE(test_full_pipe_drops_and_tells_how_many),
		WITH_PIPE(test_huge_record_stays_one_json_line_below_its_limit),
		cmocka_unit_test(test_words_for_level_and_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
