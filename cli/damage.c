/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/damage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/beneath.h"
#include "snapshot/digest.h"
#include "snapshot/folder.h"
#include "snapshot/images.h"
#include "snapshot/pages/chunk.h"
#include "snapshot/pages/map.h"

int damage_add(struct damage *damage, const char *name, const char *problem)
{
	struct damage_item *bigger, item = {.name = NULL};

	damage->n_all++;
	if (damage->n >= DAMAGE_ITEMS_MAX)
		return 0;
	item.name = strdup(name);
	item.problem = strdup(problem);
	bigger = reallocarray(damage->items, damage->n + 1, sizeof(*bigger));
	if (bigger)
		damage->items = bigger;
	if (!item.name || !item.problem || !bigger) {
		free(item.name);
		free(item.problem);
		return -ENOMEM;
	}
	damage->items[damage->n++] = item;
	return 0;
}

void damage_done(struct damage *damage)
{
	for (size_t i = 0; i < damage->n; i++) {
		free(damage->items[i].name);
		free(damage->items[i].problem);
	}
	free(damage->items);
	*damage = (struct damage){.n = 0};
}

/* the store is root's or its user's, so the files of a generation are one of them's too */
static int check_rights(struct damage *damage, const char *name, const struct stat *st, uid_t owner)
{
	char problem[128];

	if (st->st_uid != 0 && st->st_uid != owner) {
		(void)snprintf(problem, sizeof(problem), "is owned by uid %u", st->st_uid);
		return damage_add(damage, name, problem);
	}
	if ((st->st_mode & 077) != 0) {
		(void)snprintf(problem, sizeof(problem),
			       "may be read or written by others (mode %04o)", st->st_mode & 07777);
		return damage_add(damage, name, problem);
	}
	return 0;
}

static int check_image(int gen_fd, const struct manifest_image *image, uid_t owner,
		       struct damage *damage)
{
	snap_cleanup_close int fd = beneath_open(gen_fd, image->name, O_PATH | O_NOFOLLOW);
	struct snap_error err = {.code = SNAP_OK};
	char digest[33], problem[160] = "";
	uint64_t size;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return damage_add(damage, image->name,
				  fd == -ENOENT ? "is missing" : "cannot be opened");
	damage->files++;
	if (!S_ISREG(st.st_mode))
		return damage_add(damage, image->name, "is no regular file");
	r = check_rights(damage, image->name, &st, owner);
	if (r < 0)
		return r;
	size = (uint64_t)st.st_size;
	/* before a byte is read: a hole may be larger than anybody can wait for */
	if (size != image->size) {
		(void)snprintf(problem, sizeof(problem),
			       "has %" PRIu64 " bytes, the manifest says %" PRIu64, size,
			       image->size);
		return damage_add(damage, image->name, problem);
	}
	if (file_digest(gen_fd, image->name, digest, &size, &err) < 0)
		return damage_add(damage, image->name, err.msg);
	damage->bytes += size;
	if (strcmp(digest, image->digest) == 0)
		return 0;
	(void)snprintf(problem, sizeof(problem), "has digest %s, the manifest says %s", digest,
		       image->digest);
	return damage_add(damage, image->name, problem);
}

struct walk {
	const struct manifest *m;
	struct damage *damage;
	const char *folder; /* "" for the generation's own */
	uid_t owner;
};

static bool is_known(const struct manifest *m, const char *name)
{
	for (size_t i = 0; i < m->n_images; i++) {
		if (strcmp(m->images[i].name, name) == 0)
			return true;
	}
	return false;
}

static bool has_files(const struct manifest *m, enum page_files files)
{
	return files == PAGE_FILES_TREE ? m->pages_bytes > 0 : manifest_has_device_files(&m->gpu);
}

static int check_folder(int dir_fd, const char *name, const struct walk *walk)
{
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return damage_add(walk->damage, name, "cannot be looked at");
	if (!S_ISDIR(st.st_mode))
		return damage_add(walk->damage, name, "is no folder");
	return check_rights(walk->damage, name, &st, walk->owner);
}

static int check_entry(int dir_fd, const char *entry, void *arg)
{
	const struct walk *walk = arg;
	bool is_top = walk->folder[0] == '\0';
	char name[600];

	if (is_top && (strcmp(entry, "criu") == 0 || strcmp(entry, "files") == 0))
		return check_folder(dir_fd, entry, walk);
	if (is_top && strcmp(entry, "manifest.json") == 0)
		return 0;
	for (unsigned int i = 0; is_top && i < PAGE_FILES_MAX_; i++) {
		if (has_files(walk->m, (enum page_files)i) &&
		    (strcmp(entry, page_files_map_name((enum page_files)i)) == 0 ||
		     strcmp(entry, page_files_data_name((enum page_files)i)) == 0))
			return 0;
	}
	(void)snprintf(name, sizeof(name), "%s%s%s", walk->folder, is_top ? "" : "/", entry);
	return !is_top && is_known(walk->m, name)
		       ? 0
		       : damage_add(walk->damage, name, "is not in the manifest");
}

static int check_strangers(int gen_fd, const struct manifest *m, uid_t owner, struct damage *damage)
{
	static const char *const folders[] = {"", "criu", "files"};

	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		struct walk walk = {.m = m, .damage = damage, .folder = folders[i], .owner = owner};
		snap_cleanup_close int fd = openat(gen_fd, i == 0 ? "." : folders[i],
						   O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int r;

		/* told by name: missing files, and what stands there instead of a folder */
		if (fd < 0 && i > 0)
			continue;
		r = fd < 0 ? -errno : folder_each(fd, check_entry, &walk);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool is_told(const struct damage *damage, const char *name)
{
	for (size_t i = 0; i < damage->n; i++) {
		if (strcmp(damage->items[i].name, name) == 0)
			return true;
	}
	return false;
}

/* every chunk, and not only the first damaged one */
static int check_chunks(int gen_fd, const struct page_map *map, struct damage *damage)
{
	struct snap_error err = {.code = SNAP_OK};
	struct chunk_reader reader;
	int r = 0;

	if (chunk_reader_open(gen_fd, map, &reader, &err) < 0)
		return err.code == SNAP_E_INTERNAL
			       ? -ENOMEM
			       : damage_add(damage, page_files_data_name(map->files),
					    "cannot be opened");
	for (size_t i = 0; r == 0 && i < map->n_chunks; i++) {
		const unsigned char *bytes;

		if (chunk_read(&reader, i, &bytes, &err) < 0)
			r = damage_add(damage, page_files_data_name(map->files), err.msg);
	}
	chunk_reader_close(&reader);
	return r;
}

/* does err tell of the data, which is named in front? */
static bool is_of(const struct snap_error *err, const char *name)
{
	size_t n = strlen(name);

	return err->msg[0] == '\'' && strncmp(err->msg + 1, name, n) == 0 &&
	       err->msg[n + 1] == '\'';
}

/* a page map has a digest like any image; its data has checksums in there */
static int check_pages(int gen_fd, const struct manifest *m, enum page_files files, uid_t owner,
		       struct damage *damage)
{
	const char *name = page_files_data_name(files), *map_name = page_files_map_name(files);
	struct snap_error err = {.code = SNAP_OK};
	struct page_map map = {.n_chunks = 0};
	struct stat st;
	int r;

	if (fstatat(gen_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return damage_add(damage, name,
				  errno == ENOENT ? "is missing" : "cannot be opened");
	damage->files++;
	damage->bytes += (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode))
		return damage_add(damage, name, "is no regular file");
	r = check_rights(damage, name, &st, owner);
	if (r < 0)
		return r;
	if (images_load_pages(gen_fd, files, m, &map, &err) < 0) {
		if (err.code == SNAP_E_INTERNAL)
			return -ENOMEM;
		if (is_told(damage, map_name))
			return 0;
		return damage_add(damage, is_of(&err, name) ? name : map_name, err.msg);
	}
	r = check_chunks(gen_fd, &map, damage);
	page_map_done(&map);
	return r;
}

int damage_find(int gen_fd, const struct manifest *m, struct damage *ret, struct snap_error *err)
{
	struct damage damage = {.n = 0};
	struct stat gen, st;
	int r = 0;

	if (fstat(gen_fd, &gen) < 0 || fstatat(gen_fd, "manifest.json", &st, AT_SYMLINK_NOFOLLOW))
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot look at the generation");
	r = check_rights(&damage, ".", &gen, gen.st_uid);
	if (r == 0)
		r = check_rights(&damage, "manifest.json", &st, gen.st_uid);
	for (size_t i = 0; r == 0 && i < m->n_images; i++)
		r = check_image(gen_fd, &m->images[i], gen.st_uid, &damage);
	for (unsigned int i = 0; r == 0 && i < PAGE_FILES_MAX_; i++) {
		if (has_files(m, (enum page_files)i))
			r = check_pages(gen_fd, m, (enum page_files)i, gen.st_uid, &damage);
	}
	if (r == 0)
		r = check_strangers(gen_fd, m, gen.st_uid, &damage);
	if (r < 0) {
		damage_done(&damage);
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot check the files");
	}
	*ret = damage;
	return 0;
}
