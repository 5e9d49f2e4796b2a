/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_TWINS_H
#define SNAP_SNAPSHOT_PAGES_TWINS_H

/* Chunks by checksum, to find one that is stored already. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot/pages/map.h"

struct twins {
	struct page_chunk *slots; /* open addressing; bytes 0: free */
	size_t mask;
};

/* room for n chunks; 0 or -ENOMEM */
int twins_init(struct twins *twins, size_t n);
void twins_done(struct twins *twins); /* idempotent */

/* 0; -ENOMEM beyond the room */
int twins_add(struct twins *twins, const struct page_chunk *chunk);

/* a stored chunk of the same checksum, sizes and codec; the bytes are for the caller to compare */
bool twins_find(const struct twins *twins, const struct page_chunk *chunk, struct page_chunk *ret);

#endif
