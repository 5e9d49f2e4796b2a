/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_IMAGES_H
#define SNAP_SNAPSHOT_IMAGES_H

/* The files of a generation folder and their digests, which guard against accidental damage. */

#include <stdatomic.h>

#include "snapshot/manifest.h"

/*
 * note every file below criu/ and files/, and pages.map if there are pages, into m->images, with
 * size and digest
 */
int images_collect(int gen_fd, struct manifest *m, struct snap_error *err);

/*
 * Compare every noted file's size and digest; SNAP_E_CORRUPT names the first that differs.
 * -ECANCELED once *stop is true, looked at between files.
 */
int images_verify(int gen_fd, const struct manifest *m, const atomic_bool *stop,
		  struct snap_error *err);

#endif
