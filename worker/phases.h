/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_WORKER_PHASES_H
#define SNAP_WORKER_PHASES_H

#include "snapshot/steps.h"

/*
 * One record: the milliseconds of every step as NAME_ms, the bytes, how CRIU's cache was, and the
 * most memory that the worker has had resident at once, and the biggest process that it has reaped,
 * which is CRIU.
 */
void phases_log(const char *event, const struct step_times *times, uint64_t bytes,
		const char *cache);

#endif
