/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "common/error.h"

#include "tests/lib/test.h"

static void test_failure_returns_negative_errno_and_tells_its_text(void **state)
{
	struct snap_error err;

	(void)state;
	assert_int_equal(snap_fail(&err, SNAP_E_DUMP, ENOENT, "cannot open '%s'", "x"), -ENOENT);
	assert_int_equal(err.code, SNAP_E_DUMP);
	assert_int_equal(err.errnum, ENOENT);
	assert_string_equal(err.msg, "cannot open 'x': No such file or directory");
	assert_non_null(strstr(err.file, "test_error.c"));
	assert_true(err.line > 0);
}

static void test_failure_without_errno_is_eio_and_has_no_suffix(void **state)
{
	struct snap_error err;

	(void)state;
	assert_int_equal(snap_fail(&err, SNAP_E_GPU, 0, "no device"), -EIO);
	assert_string_equal(err.msg, "no device");
}

static void test_usage_error_does_not_say_invalid_argument(void **state)
{
	struct snap_error err;

	(void)state;
	assert_int_equal(snap_fail(&err, SNAP_E_USAGE, EINVAL, "unknown option"), -EINVAL);
	assert_string_equal(err.msg, "unknown option");
}

static void test_nobody_has_to_listen(void **state)
{
	(void)state;
	assert_int_equal(snap_fail(NULL, SNAP_E_DUMP, EPERM, "x"), -EPERM);
	snap_error_prefix(NULL, "y");
}

static void test_long_text_is_cut_and_terminated(void **state)
{
	struct snap_error err;
	char text[3000];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(snap_fail(&err, SNAP_E_DUMP, ENOSPC, "%s", text), -ENOSPC);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	snap_error_prefix(&err, "front");
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
	assert_memory_equal(err.msg, "front: aaa", 10);
}

static void test_prefix_goes_in_front(void **state)
{
	struct snap_error err;

	(void)state;
	(void)snap_fail(&err, SNAP_E_DUMP, 0, "inner");
	snap_error_prefix(&err, "outer %d", 3);
	assert_string_equal(err.msg, "outer 3: inner");
}

static void test_prefix_of_an_empty_error_does_nothing(void **state)
{
	struct snap_error err = {.code = SNAP_OK};

	(void)state;
	snap_error_prefix(&err, "outer");
	assert_string_equal(err.msg, "");
}

static void test_every_code_has_an_own_name_and_a_status(void **state)
{
	(void)state;
	for (int a = 0; a < SNAP_CODE_MAX_; a++) {
		int status = snap_code_exit_status((enum snap_code)a);

		assert_true(a == SNAP_OK ? status == 0 : status > 0 && status < 15);
		for (int b = 0; b < a; b++)
			assert_string_not_equal(snap_code_name((enum snap_code)a),
						snap_code_name((enum snap_code)b));
	}
	assert_string_equal(snap_code_name((enum snap_code)999), "unknown");
	assert_int_equal(snap_code_exit_status((enum snap_code)999), 1);
}

static void test_place_that_cannot_be_made_is_somebodys_fault(void **state)
{
	(void)state;
	assert_int_equal(snap_code_of_place(ENOENT), SNAP_E_USAGE);
	assert_int_equal(snap_code_of_place(EACCES), SNAP_E_PREFLIGHT);
	assert_int_equal(snap_code_of_place(EIO), SNAP_E_INTERNAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failure_returns_negative_errno_and_tells_its_text),
		cmocka_unit_test(test_failure_without_errno_is_eio_and_has_no_suffix),
		cmocka_unit_test(test_usage_error_does_not_say_invalid_argument),
		cmocka_unit_test(test_nobody_has_to_listen),
		cmocka_unit_test(test_long_text_is_cut_and_terminated),
		cmocka_unit_test(test_prefix_goes_in_front),
		cmocka_unit_test(test_prefix_of_an_empty_error_does_nothing),
		cmocka_unit_test(test_every_code_has_an_own_name_and_a_status),
		cmocka_unit_test(test_place_that_cannot_be_made_is_somebodys_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
