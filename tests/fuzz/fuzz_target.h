/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_FUZZ_FUZZ_TARGET_H
#define SNAP_TESTS_FUZZ_FUZZ_TARGET_H

/*
 * What every fuzz target defines, for libFuzzer and for fuzz_replay.c: 0 always; a fault found is
 * an abort, which FUZZ_CHECK() makes.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(condition)                                                            \
	do {                                                                             \
		if (!(condition)) {                                                      \
			(void)fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, \
				      #condition);                                       \
			abort();                                                         \
		}                                                                        \
	} while (0)

#endif
