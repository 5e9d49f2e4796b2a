/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_SIMILAR_H
#define SNAP_COMMON_SIMILAR_H

/* The word that somebody may have meant. */

#include <stddef.h>

struct similar {
	const char *word; /* what was written, `len` long */
	size_t len;
	const char *best; /* NULL: nothing comes near */
	unsigned int distance;
};

void similar_init(struct similar *similar, const char *word, size_t len);

/* compare with one that there is; must outlive *similar */
void similar_try(struct similar *similar, const char *known);

#endif
