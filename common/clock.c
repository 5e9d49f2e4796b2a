/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"

#include <limits.h>
#include <time.h>

uint64_t clock_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

uint64_t deadline_after_ms(uint64_t timeout_ms)
{
	uint64_t ns, sum;

	if (__builtin_mul_overflow(timeout_ms, NS_PER_MS, &ns) ||
	    __builtin_add_overflow(clock_now_ns(), ns, &sum))
		return DEADLINE_NEVER;
	return sum;
}

int deadline_left_ms(uint64_t deadline_ns)
{
	uint64_t now, left_ms;

	if (deadline_ns == DEADLINE_NEVER)
		return -1;
	now = clock_now_ns();
	if (now >= deadline_ns)
		return 0;
	left_ms = (deadline_ns - now + NS_PER_MS - 1) / NS_PER_MS;
	return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}
