/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_IMAGE_GROUPS_H
#define SNAP_CLI_IMAGE_GROUPS_H

/* Sizes of a generation's files by what they are. */

#include "snapshot/manifest.h"

struct image_groups {
	uint64_t memory;	 /* CRIU's page images, and pages.dat */
	uint64_t left_with_criu; /* of memory, the former */
	uint64_t state, files;
};

struct image_groups image_groups_of(const struct manifest *m);

#endif
