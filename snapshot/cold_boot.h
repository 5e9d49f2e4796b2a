/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_COLD_BOOT_H
#define SNAP_SNAPSHOT_COLD_BOOT_H

/*
 * From the start of an engine to its readiness: who waits for it learns how long that took. Only
 * who was there before it was ready does; later the same look tells the uptime.
 */

#include <stdint.h>
#include <sys/types.h>

#include "engine/engine.h"

struct cold_boot_wait {
	const struct engine *engine;
	pid_t root_pid;
	uint64_t deadline_ns;
	/* wait until PID 1 has heard the engine; NULL: such readiness is not waited for */
	int (*hear)(void *arg, uint64_t deadline_ns, struct snap_error *err);
	void *arg; /* for hear */
};

/*
 * 0 and *ret_ms, the time since the root's start, never 0: the engine is ready, and what answered
 * is of its tree.
 */
int cold_boot_await(const struct cold_boot_wait *wait, uint64_t *ret_ms, struct snap_error *err);

#endif
