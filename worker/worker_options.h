/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_WORKER_WORKER_OPTIONS_H
#define SNAP_WORKER_WORKER_OPTIONS_H

/* The worker's command line: snapworker JOB [options] -- the engine's argv. */

#include <stdbool.h>
#include <stdint.h>

#include "common/options.h"
#include "common/page_options.h"
#include "engine/engine.h"

struct worker_options {
	const char *store;
	const char *generation;
	const char *mode; /* capture: "first-boot" or "exit" */
	uint64_t pid;	  /* all but wake: the engine's root */
	uint64_t timeout_ms;
	uint64_t cold_boot_ms; /* capture: as capture_config has it */
	uint64_t ready_timeout_ms;
	uint64_t quiet_timeout_ms;
	uint64_t dump_timeout_ms;
	const char *adapter;
	const char *ready;
	const char *oracle;
	const char *warmup;
	const char *release;
	const char *reclaim;
	bool check_oracle;
	struct option_list includes;
	struct option_list accept;
	struct page_options pages;
	const char *criu;
	const char *log_level;
	const char *log_format;
	const char *self; /* how PID 1 started this worker; NULL: unknown */
	char **argv;	  /* the engine's command */
};

int worker_options_parse(int argc, char **argv, struct worker_options *ret, struct snap_error *err);

/* the part the engine layer wants; -EINVAL for a malformed warm-up count */
int worker_options_engine(const struct worker_options *options, struct engine_config *ret,
			  struct snap_error *err);

#endif
