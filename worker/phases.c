/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/phases.h"

#include <stdio.h>

#include "common/clock.h"
#include "common/log.h"

void phases_log(const char *event, const struct step_times *times, uint64_t bytes,
		const char *cache)
{
	struct log_field fields[STEPS_MAX + 3];
	char names[STEPS_MAX][32];
	uint64_t total_ns = 0;
	size_t n = 0;

	for (size_t i = 0; i < times->n; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%s_ms", times->names[i]);
		for (char *p = names[i]; *p; p++)
			*p = *p == '-' ? '_' : *p;
		fields[n++] = LOG_UINT(names[i], (times->dur_ns[i] + NS_PER_MS / 2) / NS_PER_MS);
		total_ns += times->dur_ns[i];
	}
	fields[n++] = LOG_UINT("dur_ms", total_ns / NS_PER_MS);
	fields[n++] = LOG_UINT("bytes", bytes);
	fields[n++] = LOG_TEXT("kernel_cache", cache);
	log_write(LOG_LEVEL_INFO, event, fields, n, "phases");
}
