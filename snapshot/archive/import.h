/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_ARCHIVE_IMPORT_H
#define SNAP_SNAPSHOT_ARCHIVE_IMPORT_H

/* An archive as a new generation of a store. */

#include "common/error.h"
#include "snapshot/archive/pack.h"
#include "snapshot/store.h"

struct import_result {
	struct archive_result archive;
	char generation[STORE_NAME_MAX]; /* the new one */
	char was[STORE_NAME_MAX];	 /* its name where it came from */
	uint64_t snapshot_bytes;
	bool verified;
};

/*
 * Read from `from`, which may be a pipe, to the archive's end; make the store if it is absent
 * (0700); publish when all is there, intact and synced. After a failure the store is as it was,
 * and absent if it was.
 */
int import_archive(int from, const char *store_path, const struct archive_talk *talk,
		   struct import_result *ret, struct snap_error *err);

#endif
