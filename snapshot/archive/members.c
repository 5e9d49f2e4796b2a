/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/archive/members.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

static bool is_in_folder(const char *name, const char *folder)
{
	size_t len = strlen(folder);

	return strncmp(name, folder, len) == 0 && name[len] && !strchr(name + len, '/') &&
	       strlen(name + len) <= NAME_MAX;
}

static int add(struct members *members, const struct manifest_image *image, struct snap_error *err)
{
	if (__builtin_add_overflow(members->bytes, image->size, &members->bytes) ||
	    members->bytes > INT64_MAX)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EOVERFLOW,
				       MANIFEST_NAME ": its images are larger than any disk");
	members->items[members->n++] =
		(struct member){.name = image->name, .size = image->size, .digest = image->digest};
	return 0;
}

unsigned int members_files_of(const char *name)
{
	unsigned int i = 0;

	while (i < PAGE_FILES_MAX_ && strcmp(name, page_files_map_name((enum page_files)i)) != 0)
		i++;
	return i;
}

static int check_name(const struct manifest *m, size_t i, struct snap_error *err)
{
	const char *name = m->images[i].name;

	if (i > 0 && strcmp(m->images[i - 1].name, name) >= 0)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG,
				       MANIFEST_NAME ": '%.200s' stands behind '%.200s'", name,
				       m->images[i - 1].name);
	if (members_files_of(name) == PAGE_FILES_MAX_ && !is_in_folder(name, "criu/") &&
	    !is_in_folder(name, "files/"))
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG,
				       MANIFEST_NAME ": '%.200s' belongs into no generation", name);
	return 0;
}

int members_make(const struct manifest *m, struct members *ret, struct snap_error *err)
{
	struct members members = {.items = calloc(m->n_images + 1, sizeof(*members.items))};
	int r = 0;

	if (!members.items)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < m->n_images; i++) {
		r = check_name(m, i, err);
		if (r == 0 && members_files_of(m->images[i].name) < PAGE_FILES_MAX_)
			members.has_data[members_files_of(m->images[i].name)] = true;
	}
	/* the maps in their order, then all that is none */
	for (unsigned int files = 0; files <= PAGE_FILES_MAX_; files++) {
		for (size_t i = 0; r == 0 && i < m->n_images; i++) {
			if (members_files_of(m->images[i].name) == files)
				r = add(&members, &m->images[i], err);
		}
	}
	if (r < 0)
		members_done(&members);
	*ret = members;
	return r;
}

void members_done(struct members *members)
{
	free(members->items);
	*members = (struct members){.n = 0};
}

struct chunk_place {
	uint64_t offset;
	size_t i;
};

static int compare_places(const void *a, const void *b)
{
	const struct chunk_place *x = a, *y = b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return (x->i > y->i) - (x->i < y->i);
}

size_t *members_chunk_order(const struct page_map *map, size_t *ret_n)
{
	snap_cleanup_free struct chunk_place *places = calloc(map->n_chunks + 1, sizeof(*places));
	size_t *order = calloc(map->n_chunks + 1, sizeof(*order));

	*ret_n = 0;
	if (!places || !order) {
		free(order);
		return NULL;
	}
	for (size_t i = 0; i < map->n_chunks; i++)
		places[i] = (struct chunk_place){map->chunks[i].offset, i};
	qsort(places, map->n_chunks, sizeof(*places), compare_places);
	for (size_t i = 0; i < map->n_chunks; i++) {
		if (i == 0 || places[i].offset != places[i - 1].offset)
			order[(*ret_n)++] = places[i].i;
	}
	return order;
}
