/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_GPU_PROBE_ROW_H
#define SNAP_TESTS_GPU_PROBE_ROW_H

/* One result: a JSON object on one line of stdout. Keys are ours, text may hold anything. */

void row_open(const char *step, const char *what);
void row_text(const char *key, const char *value);
void row_number(const char *key, long long value);
void row_ms(const char *key, double value);
void row_flag(const char *key, int value);
/* size in GB of 10^9 bytes by ms; left out where there is no time or size */
void row_speed(const char *key, double bytes, double ms);
void row_close(void);

#endif
