/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include "common/clock.h"
#include "snapshot/gpu/errand.h"

#include "tests/lib/test.h"

static sem_t may_return, has_returned;

struct numbers {
	int a, b, sum;
};

static int add(void *arg)
{
	struct numbers *numbers = arg;

	numbers->sum = numbers->a + numbers->b;
	return 7;
}

static int wait_for_leave(void *arg)
{
	(void)arg;
	while (sem_wait(&may_return) < 0)
		;
	(void)sem_post(&has_returned);
	return 0;
}

static void test_result_and_what_became_of_the_argument(void **state)
{
	struct numbers numbers = {.a = 2, .b = 3};
	struct errand *errand = errand_start(add, &numbers, sizeof(numbers));
	int result = 0;

	(void)state;
	assert_non_null(errand);
	assert_int_equal(errand_wait(errand, deadline_after_ms(60000), &result), 0);
	assert_int_equal(result, 7);
	assert_int_equal(((const struct numbers *)errand_arg(errand))->sum, 5);
	assert_int_equal(numbers.sum, 0); /* a copy was worked on */
	errand_drop(errand);
}

static void test_one_that_does_not_return_is_dropped(void **state)
{
	struct errand *errand = errand_start(wait_for_leave, NULL, 0);
	int result;

	(void)state;
	assert_non_null(errand);
	assert_int_equal(errand_wait(errand, deadline_after_ms(20), &result), -ETIMEDOUT);
	errand_drop(errand);
	/* what it uses is still there when it goes on */
	assert_int_equal(sem_post(&may_return), 0);
	while (sem_wait(&has_returned) < 0)
		;
}

static void test_nobody_waits(void **state)
{
	struct numbers numbers = {.a = 1};

	(void)state;
	errand_drop(errand_start(add, &numbers, sizeof(numbers)));
	errand_drop(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_result_and_what_became_of_the_argument),
		cmocka_unit_test(test_one_that_does_not_return_is_dropped),
		cmocka_unit_test(test_nobody_waits),
	};

	if (sem_init(&may_return, 0, 0) < 0 || sem_init(&has_returned, 0, 0) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
