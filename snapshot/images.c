/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/images.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/fd.h"
#include "snapshot/fingerprint.h"
#include "snapshot/pages/map.h"

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

int images_verify(int gen_fd, const struct manifest *m, const atomic_bool *stop,
		  struct snap_error *err)
{
	snap_cleanup_free const char **names = calloc(m->n_images + 1, sizeof(*names));
	int checked = names ? check_stored(m, names, err) : -ENOMEM;

	if (checked < 0)
		return names ? checked : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; i < m->n_images; i++) {
		const struct manifest_image *image = &m->images[i];
		char digest[33];
		uint64_t size;
		int r;

		if (atomic_load(stop))
			return snap_fail_plain(err, SNAP_E_INTERNAL, ECANCELED,
					       "digests were stopped");
		r = file_digest(gen_fd, image->name, digest, &size, err);
		if (r < 0)
			return r;
		if (size != image->size)
			return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
					       "'%s' has %" PRIu64
					       " bytes, the manifest says %" PRIu64,
					       image->name, size, image->size);
		if (strcmp(digest, image->digest) != 0)
			return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
					       "'%s' is damaged: digest %s, the "
					       "manifest says %s",
					       image->name, digest, image->digest);
	}
	return 0;
}
