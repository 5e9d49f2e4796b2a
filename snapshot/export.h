/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_EXPORT_H
#define SNAP_SNAPSHOT_EXPORT_H

/*
 * A snapshot as CRIU alone would have made it: its images with all memory in them, which any
 * `criu restore` of the version takes. Files that the snapshot carries along are not part of them.
 */

#include <stdatomic.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/manifest.h"

struct export_result {
	uint64_t files;
	uint64_t bytes;
	uint64_t merged_bytes; /* of memory, in images that page files were merged into */
};

/*
 * Into the folder `to`, which is made (0700) or is empty; files are 0600 and synced, and the one
 * without which CRIU takes none comes last. Everything read is checked. After a failure `to` is as
 * it was. -ECANCELED once *stop is true.
 */
int export_images(int gen_fd, const struct manifest *m, const char *to, const atomic_bool *stop,
		  struct export_result *ret, struct snap_error *err);

#endif
