/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_PARSE_H
#define SNAP_COMMON_PARSE_H

/* Text to numbers, the whole text or -EINVAL (-ERANGE when it does not fit). */

#include <stdint.h>

int parse_u64(const char *text, uint64_t *ret);
int parse_int(const char *text, int min, int max, int *ret);

/* "250ms", "10s", "2m", "1h"; a bare number is seconds */
int parse_duration_ms(const char *text, uint64_t *ret_ms);

/* bytes: "4096", "64K", "1.5" is refused, "2M", "8G" (powers of 1024) */
int parse_size(const char *text, uint64_t *ret_bytes);

/* "TERM", "SIGTERM", "15", "RTMIN+3" */
int parse_signal(const char *text, int *ret);

#endif
