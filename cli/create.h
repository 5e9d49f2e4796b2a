/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_CREATE_H
#define SNAP_CLI_CREATE_H

/*
 * A snapshot from outside: one container boots the engine and is captured, a second one wakes it
 * and asks the oracle, and only then is it published. What was published before stays untouched
 * until then, and after any failure.
 */

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/attend.h"
#include "cli/credentials.h"
#include "cli/rights.h"
#include "common/error.h"
#include "common/options.h"
#include "common/page_options.h"
#include "snapshot/store.h"

/* how a container of ours is started; shared by create, verify --wake and the doctor's trial */
struct create_place {
	char snapinit[PATH_MAX];
	enum rights_set rights;
	const struct credentials *user; /* NULL: as we are */
	const char *criu;		/* NULL: the worker searches */
	int out_fd;			/* what the engine and snapinit say; FD_NONE: nowhere */
	bool records;			/* snapinit's and snapworker's records too */
	const char *log_level;
};

/* what the user said about the engine, for snapinit; NULL: not said */
struct create_engine {
	const char *adapter;
	const char *ready;
	const char *ready_timeout;
	const char *warmup;
	const char *oracle;
	const char *release;
	const char *reclaim;
	const struct option_list *includes;
	const struct page_options *pages;
	char *const *command;
};

struct create_spec {
	struct create_place place;
	struct create_engine engine;
	const char *store;
	bool verify;
	uint64_t timeout_ms; /* for all of it; 0: none */
};

struct create_result {
	char generation[STORE_NAME_MAX];
	bool verified;
	uint64_t bytes;
	uint64_t cold_boot_ms;
	uint64_t capture_ms;
	uint64_t frozen_ms;
	uint64_t wake_ms; /* 0: not woken */
};

/*
 * 0 and *ret; -errno with the code of what went wrong. -EINTR when a signal ended it (see
 * attend->ended_by).
 */
int create_run(const struct create_spec *spec, struct attend *attend, struct create_result *ret,
	       struct snap_error *err);

/* wake a generation in a container of its own, ask its oracle, end it; *ret_ms: exec to answer */
int create_try_wake(const struct create_spec *spec, const char *generation, uint64_t deadline_ns,
		    struct attend *attend, uint64_t *ret_ms, struct snap_error *err);

#endif
