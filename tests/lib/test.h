/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_LIB_TEST_H
#define SNAP_TESTS_LIB_TEST_H

/* cmocka's header needs these four before it, in this order. */

/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
/* clang-format on */

#endif
