/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_DAMAGE_H
#define SNAP_CLI_DAMAGE_H

/* Everything that is wrong with the files of a generation, each by name. */

#include <stdint.h>

#include "common/error.h"
#include "snapshot/manifest.h"

#define DAMAGE_ITEMS_MAX 1000U /* more are only counted */

struct damage_item {
	char *name; /* below the generation's folder */
	char *problem;
};

struct damage {
	struct damage_item *items;
	size_t n;     /* in items */
	size_t n_all; /* found */
	size_t files; /* looked at */
	uint64_t bytes;
};

/*
 * Compare every file with what the manifest says and every chunk of pages.dat with pages.map, see
 * that nobody else may write or read any, and that there is no file that the manifest does not
 * know. 0 also when damage was found.
 */
int damage_find(int gen_fd, const struct manifest *m, struct damage *ret, struct snap_error *err);

/* note one more; for damage found elsewhere */
int damage_add(struct damage *damage, const char *name, const char *problem);

void damage_done(struct damage *damage);

#endif
