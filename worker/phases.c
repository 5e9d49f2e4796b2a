/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/phases.h"

#include <stdio.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "common/log.h"

/* private, file and shared pages that were mapped at once; read pages of files are not among them
 */
static uint64_t peak_bytes(int who)
{
	struct rusage usage;

	if (getrusage(who, &usage) < 0)
		return 0;
	return (uint64_t)usage.ru_maxrss * 1024;
}

void phases_log(const char *event, const struct step_times *times, uint64_t bytes,
		const char *cache)
{
	struct log_field fields[STEPS_MAX + 5];
	char names[STEPS_MAX][32];
	uint64_t total_ns = 0;
	size_t n = 0;

	for (size_t i = 0; i < times->n; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%s_ms", times->names[i]);
		for (char *p = names[i]; *p; p++)
			if (*p == '-')
				*p = '_';
		fields[n++] = LOG_UINT(names[i], (times->dur_ns[i] + NS_PER_MS / 2) / NS_PER_MS);
		total_ns += times->dur_ns[i];
	}
	fields[n++] = LOG_UINT("dur_ms", total_ns / NS_PER_MS);
	fields[n++] = LOG_UINT("bytes", bytes);
	fields[n++] = LOG_TEXT("kernel_cache", cache);
	fields[n++] = LOG_UINT("peak_bytes", peak_bytes(RUSAGE_SELF));
	fields[n++] = LOG_UINT("criu_peak_bytes", peak_bytes(RUSAGE_CHILDREN));
	log_write(LOG_LEVEL_INFO, event, fields, n, "phases");
}
