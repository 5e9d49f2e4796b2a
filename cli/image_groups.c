/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/image_groups.h"

#include <string.h>

struct image_groups image_groups_of(const struct manifest *m)
{
	struct image_groups groups = {.memory = 0};
	uint64_t images = 0;

	for (size_t i = 0; i < m->n_images; i++) {
		const char *name = m->images[i].name;

		if (strncmp(name, "files/", strlen("files/")) == 0)
			groups.files += m->images[i].size;
		else if (strncmp(name, "criu/pages-", strlen("criu/pages-")) == 0)
			groups.left_with_criu += m->images[i].size;
		else
			groups.state += m->images[i].size;
		images += m->images[i].size;
	}
	groups.memory = groups.left_with_criu;
	/* pages.dat is in the sum and has no digest of its own */
	if (m->snapshot_bytes > images)
		groups.memory += m->snapshot_bytes - images;
	return groups;
}
