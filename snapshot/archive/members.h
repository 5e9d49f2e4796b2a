/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_ARCHIVE_MEMBERS_H
#define SNAP_SNAPSHOT_ARCHIVE_MEMBERS_H

/*
 * The members of an archive, in the one order that both ends know (docs/formats/store.md 6):
 * manifest.json, pages.map, device.map, what else has a digest, pages.dat, device.dat.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/manifest.h"
#include "snapshot/pages/map.h"

struct member {
	const char *name; /* the manifest's */
	uint64_t size;
	const char *digest;
};

struct members {
	struct member *items; /* those with a digest: all but the first and the last of the archive;
				 maps come first */
	size_t n;
	uint64_t bytes;			/* their sum */
	bool has_data[PAGE_FILES_MAX_]; /* its map is among them */
};

/*
 * From the manifest, which stays its strings' owner. SNAP_E_CORRUPT when it names what does not
 * belong into a generation, or not in the order of the names
 */
int members_make(const struct manifest *m, struct members *ret, struct snap_error *err);
void members_done(struct members *members); /* idempotent */

/* the enum page_files whose map has this name, or PAGE_FILES_MAX_ */
unsigned int members_files_of(const char *name);

/* numbers of the chunks with data of their own, by their place in it; NULL without memory */
size_t *members_chunk_order(const struct page_map *map, size_t *ret_n);

#endif
