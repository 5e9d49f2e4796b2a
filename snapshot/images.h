/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_IMAGES_H
#define SNAP_SNAPSHOT_IMAGES_H

/* The files of a generation folder and their digests, which guard against accidental damage. */

#include <stdatomic.h>

#include "snapshot/manifest.h"
#include "snapshot/pages/map.h"

/*
 * note every file below criu/ and files/, and pages.map and device.map if they are there, into
 * m->images, with size and digest
 */
int images_collect(int gen_fd, struct manifest *m, struct snap_error *err);

/* what CRIU and we interpret, and what is only copied: pages and carried files */
enum images_part {
	IMAGES_STATE = 1,
	IMAGES_CONTENT = 2,
	IMAGES_ALL = IMAGES_STATE | IMAGES_CONTENT,
};

/*
 * Compare size and digest of every noted file of that part; SNAP_E_CORRUPT names the first that
 * differs. -ECANCELED once *stop is true, looked at between files.
 */
int images_verify(int gen_fd, const struct manifest *m, enum images_part part,
		  const atomic_bool *stop, struct snap_error *err);

/*
 * page_map_load(), and no space is of a process or GPU that is none of the manifest's: whoever has
 * that number at a wake would be written to
 */
int images_load_pages(int gen_fd, enum page_files files, const struct manifest *m,
		      struct page_map *ret, struct snap_error *err);

#endif
