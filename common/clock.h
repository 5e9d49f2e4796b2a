/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_CLOCK_H
#define SNAP_COMMON_CLOCK_H

/* One clock type in the whole tree: nanoseconds of CLOCK_MONOTONIC. A deadline is absolute. */

#include <stdint.h>

#define NS_PER_MS 1000000ULL
#define NS_PER_S  1000000000ULL

#define DEADLINE_NEVER UINT64_MAX

uint64_t clock_now_ns(void);

/* now + timeout, DEADLINE_NEVER on overflow */
uint64_t deadline_after_ms(uint64_t timeout_ms);

/* for poll(2): -1 never, 0 passed, else milliseconds rounded up */
int deadline_left_ms(uint64_t deadline_ns);

#endif
