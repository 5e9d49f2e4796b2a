/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fd.h"
#include "snapshot/fingerprint.h"
#include "snapshot/folder.h"
#include "snapshot/pages/map.h"

#define STATS_NAME "stats-restore" /* CRIU leaves it here where it has no folder to work in */

static int add_image(int gen_fd, const char *name, struct manifest *m, struct snap_error *err)
{
	struct manifest_image *bigger;

	if (m->n_images >= MANIFEST_ITEMS_MAX)
		return snap_fail_plain(err, SNAP_E_DUMP, E2BIG, "too many image files");
	bigger = reallocarray(m->images, m->n_images + 1, sizeof(*bigger));
	if (!bigger)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot note '%s'", name);
	m->images = bigger;
	bigger += m->n_images;
	*bigger = (struct manifest_image){.name = strdup(name)};
	if (!bigger->name)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot note '%s'", name);
	m->n_images++;
	return file_digest(gen_fd, name, bigger->digest, &bigger->size, err);
}

static int collect_folder(int gen_fd, const char *folder, struct manifest *m,
			  struct snap_error *err)
{
	snap_cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	int fd = openat(gen_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int r = 0;

	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		(void)fd_close(fd);
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot list '%s'", folder);
	}
	while (r == 0 && (entry = readdir(dir))) {
		char name[512];
		struct stat st;

		if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(st.st_mode))
			continue;
		(void)snprintf(name, sizeof(name), "%s/%s", folder, entry->d_name);
		r = add_image(gen_fd, name, m, err);
	}
	return r;
}

static int compare_names(const void *a, const void *b)
{
	const struct manifest_image *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int images_collect(int gen_fd, struct manifest *m, struct snap_error *err)
{
	int r = collect_folder(gen_fd, "criu", m, err);

	/* pages.dat has a checksum for each of its chunks in there */
	if (r == 0 && m->pages_bytes > 0)
		r = add_image(gen_fd, PAGES_MAP_NAME, m, err);
	if (r == 0 && manifest_has_device_files(&m->gpu))
		r = add_image(gen_fd, DEVICE_MAP_NAME, m, err);
	if (r == 0)
		r = collect_folder(gen_fd, "files", m, err);
	if (r == 0 && m->n_images > 0)
		qsort(m->images, m->n_images, sizeof(m->images[0]), compare_names);
	return r;
}

static int compare_pointers(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

/* what has no digest would be put back unchecked */
static int check_stored(const struct manifest *m, const char **names, struct snap_error *err)
{
	for (size_t i = 0; i < m->n_images; i++)
		names[i] = m->images[i].name;
	if (m->n_images > 0)
		qsort(names, m->n_images, sizeof(*names), compare_pointers);
	for (size_t i = 0; i < m->n_files; i++) {
		char name[PATH_MAX + 8];
		const char *key = name;

		if (!m->files[i].stored)
			continue;
		(void)snprintf(name, sizeof(name), "files/%s", m->files[i].stored);
		if (m->n_images == 0 ||
		    !bsearch(&key, names, m->n_images, sizeof(*names), compare_pointers))
			return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
					       "'%s' is to be put back and has no digest", name);
	}
	return 0;
}

static enum images_part part_of(const char *name)
{
	bool is_content = strncmp(name, "criu/pages-", 11) == 0 || strncmp(name, "files/", 6) == 0;

	return is_content ? IMAGES_CONTENT : IMAGES_STATE;
}

static int check_all_stored(const struct manifest *m, struct snap_error *err)
{
	snap_cleanup_free const char **names = calloc(m->n_images + 1, sizeof(*names));

	return names ? check_stored(m, names, err)
		     : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}

struct stranger {
	const struct manifest *m;
	char name[NAME_MAX + 1]; /* set when there is one */
};

static int is_listed(int dir_fd, const char *entry, void *arg)
{
	struct stranger *stranger = arg;
	const struct manifest *m = stranger->m;
	char name[NAME_MAX + 8];
	const struct manifest_image key = {.name = name};

	(void)dir_fd;
	(void)snprintf(name, sizeof(name), "criu/%s", entry);
	if (strcmp(entry, STATS_NAME) == 0 ||
	    (m->n_images > 0 && bsearch(&key, m->images, m->n_images, sizeof(key), compare_names)))
		return 0;
	(void)snprintf(stranger->name, sizeof(stranger->name), "%s", entry);
	return -EUCLEAN;
}

/* CRIU looks for images that a dump may have or not: one of another dump would be taken for ours */
static int check_strangers(int gen_fd, const struct manifest *m, struct snap_error *err)
{
	snap_cleanup_close int fd =
		openat(gen_fd, "criu", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stranger stranger = {.m = m};
	int r = fd < 0 ? -errno : folder_each(fd, is_listed, &stranger);

	if (r == -EUCLEAN)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
				       "'criu/%s' is not in the manifest", stranger.name);
	return r < 0 ? snap_fail(err, SNAP_E_CORRUPT, -r, "cannot list 'criu'") : 0;
}

int images_verify(int gen_fd, const struct manifest *m, enum images_part part,
		  const atomic_bool *stop, struct snap_error *err)
{
	int r = (part & IMAGES_STATE) ? check_all_stored(m, err) : 0;

	if (r == 0 && (part & IMAGES_STATE))
		r = check_strangers(gen_fd, m, err);
	for (size_t i = 0; r == 0 && i < m->n_images; i++) {
		const struct manifest_image *image = &m->images[i];

		if (!(part & part_of(image->name)))
			continue;
		if (atomic_load(stop))
			return snap_fail_plain(err, SNAP_E_INTERNAL, ECANCELED,
					       "digests were stopped");
		r = file_verify(gen_fd, image->name, image->size, image->digest, err);
	}
	return r;
}

static int compare_pids(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return (x > y) - (x < y);
}

static int check_place(const struct manifest *m, const struct page_map *map, size_t i,
		       struct snap_error *err)
{
	const struct page_space *space = &map->spaces[i];
	const char *name = page_files_map_name(map->files);

	if (m->n_pids == 0 ||
	    !bsearch(&space->pid, m->pids, m->n_pids, sizeof(space->pid), compare_pids))
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG,
				       "%s: space %zu: pid %d is none of the tree's", name, i,
				       (int)space->pid);
	if (space->kind == PAGE_SPACE_DEVICE && (size_t)space->fd >= m->gpu.n_devices)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG,
				       "%s: space %zu: GPU %d, the manifest names %zu", name, i,
				       (int)space->fd, m->gpu.n_devices);
	return 0;
}

int images_load_pages(int gen_fd, enum page_files files, const struct manifest *m,
		      struct page_map *ret, struct snap_error *err)
{
	struct page_map map;
	int r = page_map_load(gen_fd, files, &map, err);

	if (r < 0)
		return r;
	for (size_t i = 0; r == 0 && i < map.n_spaces; i++)
		r = check_place(m, &map, i, err);
	if (r < 0)
		page_map_done(&map);
	else
		*ret = map;
	return r;
}
