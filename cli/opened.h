/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_OPENED_H
#define SNAP_CLI_OPENED_H

/* A generation of a store, opened for looking at, whoever of the engine's users owns it. */

#include <sys/types.h>

#include "common/error.h"
#include "snapshot/manifest.h"
#include "snapshot/store.h"

struct opened {
	struct store store;
	char generation[STORE_NAME_MAX];
	bool is_current;
	int gen_fd;
	struct manifest manifest;
};

/* generation NULL: the current one. The manifest is not loaded yet */
int opened_init(struct opened *opened, const char *path, const char *generation,
		struct snap_error *err);
int opened_load_manifest(struct opened *opened, struct snap_error *err);

/* as a wake by its owner would: nobody else may own or change anything in it; SNAP_E_CORRUPT */
int opened_check_rights(const struct opened *opened, struct snap_error *err);

/* a wake by that user would have it: the store is theirs or root's; SNAP_E_CORRUPT */
int opened_check_owner(const struct opened *opened, uid_t uid, gid_t gid, struct snap_error *err);

void opened_done(struct opened *opened); /* idempotent */

/* the engine's command, NULL-terminated; the vector is the caller's to free, the words are not */
char **opened_command(const struct opened *opened, struct snap_error *err);

#endif
