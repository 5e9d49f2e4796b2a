/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/twins.h"

#include <errno.h>
#include <stdlib.h>

int twins_init(struct twins *twins, size_t n)
{
	size_t room = 16;

	/* half of the slots stay free, so that a search ends soon */
	while (room < n * 2)
		room *= 2;
	twins->slots = calloc(room, sizeof(*twins->slots));
	twins->mask = room - 1;
	return twins->slots ? 0 : -ENOMEM;
}

void twins_done(struct twins *twins)
{
	free(twins->slots);
	*twins = (struct twins){0};
}

static bool is_twin(const struct page_chunk *a, const struct page_chunk *b)
{
	return a->checksum_low == b->checksum_low && a->checksum_high == b->checksum_high &&
	       a->bytes == b->bytes && a->stored_bytes == b->stored_bytes && a->codec == b->codec;
}

/* the slot of an equal chunk, or the free one where it belongs; NULL: full */
static struct page_chunk *slot_of(const struct twins *twins, const struct page_chunk *chunk)
{
	for (size_t i = 0; i <= twins->mask; i++) {
		struct page_chunk *slot = &twins->slots[(chunk->checksum_low + i) & twins->mask];

		if (slot->bytes == 0 || is_twin(slot, chunk))
			return slot;
	}
	return NULL;
}

int twins_add(struct twins *twins, const struct page_chunk *chunk)
{
	struct page_chunk *slot = slot_of(twins, chunk);

	if (!slot)
		return -ENOMEM;
	*slot = *chunk;
	return 0;
}

bool twins_find(const struct twins *twins, const struct page_chunk *chunk, struct page_chunk *ret)
{
	const struct page_chunk *slot = slot_of(twins, chunk);

	if (!slot || slot->bytes == 0)
		return false;
	*ret = *slot;
	return true;
}
