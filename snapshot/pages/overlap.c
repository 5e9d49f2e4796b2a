/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/overlap.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"

static int compare_content(const struct page_chunk *x, const struct page_chunk *y)
{
	if (x->checksum_low != y->checksum_low)
		return x->checksum_low < y->checksum_low ? -1 : 1;
	if (x->checksum_high != y->checksum_high)
		return x->checksum_high < y->checksum_high ? -1 : 1;
	return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

static int compare_chunks(const void *a, const void *b)
{
	return compare_content(*(const struct page_chunk *const *)a,
			       *(const struct page_chunk *const *)b);
}

static const struct page_chunk **sort_chunks(const struct page_map *map)
{
	const struct page_chunk **sorted = calloc(map->n_chunks + 1, sizeof(*sorted));

	for (size_t i = 0; sorted && i < map->n_chunks; i++)
		sorted[i] = &map->chunks[i];
	if (sorted && map->n_chunks > 0)
		qsort(sorted, map->n_chunks, sizeof(*sorted), compare_chunks);
	return sorted;
}

int overlap_find(const struct page_map *a, const struct page_map *b, struct overlap *ret)
{
	snap_cleanup_free const struct page_chunk **chunks_a = sort_chunks(a);
	snap_cleanup_free const struct page_chunk **chunks_b = sort_chunks(b);
	size_t i = 0, j = 0;

	*ret = (struct overlap){.chunks = 0};
	if (!chunks_a || !chunks_b)
		return -ENOMEM;
	while (i < a->n_chunks && j < b->n_chunks) {
		int order = compare_content(chunks_a[i], chunks_b[j]);

		if (order == 0) {
			ret->chunks++;
			ret->bytes += chunks_a[i]->bytes;
		}
		i += order <= 0;
		j += order >= 0;
	}
	return 0;
}
