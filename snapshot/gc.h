/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GC_H
#define SNAP_SNAPSHOT_GC_H

/*
 * What a store does not need any more: generations that are not current, rests of captures and
 * imports that died, temporary names, a lease whose holder is gone. Never the current generation,
 * and nothing that somebody reads or makes (docs/formats/store.md 5).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot/store.h"

#define GC_NAME_MAX 320 /* "gen-3/" and a file's name */
#define GC_TRIAL_MS 3600000U
/* after the last change; what a recovery reads for longer is locked by PID 1 (GC_IN_USE) */
#define GC_RECOVER_MS 60000U

enum gc_kind {
	GC_GENERATION,
	GC_UNFINISHED, /* a generation without manifest: half made or half removed */
	GC_TEMPORARY,
	GC_LEASE,
};

enum gc_fate {
	GC_REMOVED, /* with dry_run: would be */
	GC_CURRENT,
	GC_WANTED, /* one of the newest ones that the caller keeps */
	GC_IN_USE,
	GC_FRESH,  /* newer than the current one, and maybe being tried; or maybe being recovered */
	GC_FAILED, /* errnum says why */
};

struct gc_item {
	char name[GC_NAME_MAX]; /* below the store */
	enum gc_kind kind;
	enum gc_fate fate;
	int errnum;
	uint64_t bytes; /* on disk, before */
};

struct gc_result {
	struct gc_item *items; /* temporary names and lease, then generations, oldest first */
	size_t n;
	uint64_t freed_bytes;
	size_t n_removed;
	size_t n_failed;
};

struct gc_options {
	uint64_t keep; /* that many of the newest whole generations beside the current one */
	bool dry_run;  /* tell, and change nothing */
};

/*
 * -EBUSY (SNAP_E_PREFLIGHT) while a capture has the lease; 0 also when some could not be removed.
 * *ret is the caller's to gc_result_done(), after a failure too.
 */
int gc_run(struct store *store, const struct gc_options *options, struct gc_result *ret,
	   struct snap_error *err);
void gc_result_done(struct gc_result *result);

const char *gc_kind_name(enum gc_kind kind);
const char *gc_fate_name(enum gc_fate fate);

#endif
