/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_WORKER_PHASES_H
#define SNAP_WORKER_PHASES_H

#include "snapshot/steps.h"

/* one record with the milliseconds of every step as NAME_ms, the bytes, and how CRIU's cache was */
void phases_log(const char *event, const struct step_times *times, uint64_t bytes,
		const char *cache);

#endif
