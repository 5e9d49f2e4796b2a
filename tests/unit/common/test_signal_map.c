/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>

#include "common/cleanup.h"
#include "common/signal_map.h"

#include "tests/lib/test.h"

static void test_empty_map_changes_nothing(void **state)
{
	struct signal_map map = {.to = {0}};

	(void)state;
	for (int sig = 1; sig <= 64; sig++)
		assert_int_equal(signal_map_get(&map, sig), sig);
	assert_int_equal(signal_map_get(&map, 0), 0);
	assert_int_equal(signal_map_get(&map, 65), 65);
}

static void test_numbers_and_names_are_the_same(void **state)
{
	static const char *const specs[] = {"15:3", "TERM:QUIT", "SIGTERM:3", "15:SIGQUIT",
					    "HUP:1,15:9,15:3"};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(specs); i++) {
		struct signal_map map = {.to = {0}};

		assert_int_equal(signal_map_parse(&map, specs[i]), 0);
		assert_int_equal(signal_map_get(&map, SIGTERM), SIGQUIT);
		assert_int_equal(signal_map_get(&map, SIGQUIT), SIGQUIT);
		assert_int_equal(signal_map_get(&map, SIGHUP), SIGHUP);
	}
}

static void test_zero_drops(void **state)
{
	struct signal_map map = {.to = {0}};

	(void)state;
	assert_int_equal(signal_map_parse(&map, "SIGRTMIN+3:0,1:0"), 0);
	assert_int_equal(signal_map_get(&map, SIGRTMIN + 3), 0);
	assert_int_equal(signal_map_get(&map, SIGHUP), 0);
	assert_int_equal(signal_map_parse(&map, "1:1"), 0);
	assert_int_equal(signal_map_get(&map, SIGHUP), SIGHUP);
}

static void test_default_yields(void **state)
{
	struct signal_map map = {.to = {0}};

	(void)state;
	assert_int_equal(signal_map_parse(&map, "TTIN:TTIN,TTOU:0"), 0);
	signal_map_default(&map, SIGTTIN, SIGSTOP);
	signal_map_default(&map, SIGTTOU, SIGSTOP);
	signal_map_default(&map, SIGTSTP, SIGSTOP);
	assert_int_equal(signal_map_get(&map, SIGTTIN), SIGTTIN);
	assert_int_equal(signal_map_get(&map, SIGTTOU), 0);
	assert_int_equal(signal_map_get(&map, SIGTSTP), SIGSTOP);
}

static void test_nonsense_is_refused(void **state)
{
	static const char *const bad[] = {
		"",	 ":",	  "15",		"15:",		":15",	   "0:15",  "65:1",
		"1:65",	 "15:-1", "15:03x",	"TERM:NONE",	"15:3,",   ",15:3", "15:3,x",
		"1:2:3", "15 :3", "RTMIN+99:1", "SIGSIGTERM:1", "TERM:0x", "15:3 ",
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		struct signal_map map = {.to = {0}};

		assert_int_equal(signal_map_parse(&map, bad[i]), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_map_changes_nothing),
		cmocka_unit_test(test_numbers_and_names_are_the_same),
		cmocka_unit_test(test_zero_drops),
		cmocka_unit_test(test_default_yields),
		cmocka_unit_test(test_nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
