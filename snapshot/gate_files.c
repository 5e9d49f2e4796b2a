/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Are the snapshot's own files whole, and are the files it refers to as they were? Sizes and times
 * only: content is digested elsewhere, beside the work.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/beneath.h"
#include "snapshot/gate_check.h"

#define QUOTE_MAX      120
#define INVENTORY_NAME "criu/inventory.img"

/* 0 and *ret of a regular file below the generation, or -errno */
static int stat_beneath(int dir_fd, const char *name, struct stat *ret)
{
	snap_cleanup_close int fd = beneath_open(dir_fd, name, O_PATH);

	if (fd < 0)
		return fd;
	if (fstat(fd, ret) < 0)
		return -errno;
	return S_ISREG(ret->st_mode) ? 0 : -EINVAL;
}

void gate_check_image(struct gate *gate)
{
	bool has_inventory = false;

	for (size_t i = 0; i < gate->m->n_images; i++) {
		const struct manifest_image *image = &gate->m->images[i];
		char name[QUOTE_MAX];
		struct stat st;
		int r = stat_beneath(gate->gen_fd, image->name, &st);

		has_inventory |= strcmp(image->name, INVENTORY_NAME) == 0;
		(void)gate_quote(image->name, name, sizeof(name));
		if (r == -ENOENT)
			gate_refuse(gate, "image '%s' is missing", name);
		else if (r < 0)
			gate_refuse(gate, "image '%s' is no regular file", name);
		else if ((uint64_t)st.st_size != image->size)
			gate_refuse(gate, "image '%s' has %jd bytes, captured with %" PRIu64, name,
				    (intmax_t)st.st_size, image->size);
	}
	if (!has_inventory)
		gate_refuse(gate, "image '%s' is not in the manifest", INVENTORY_NAME);
}

/* could a file or folder be made at path? 0 or the errno of its nearest existing folder */
static int try_make(const char *path)
{
	char folder[PATH_MAX];
	char *slash;

	(void)snprintf(folder, sizeof(folder), "%s", path);
	while ((slash = strrchr(folder, '/'))) {
		struct stat st;

		slash[slash == folder] = '\0';
		if (stat(folder, &st) < 0) {
			if (errno != ENOENT || slash == folder)
				return errno;
			continue;
		}
		if (!S_ISDIR(st.st_mode))
			return ENOTDIR;
		return faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) < 0 ? errno : 0;
	}
	return ENOENT;
}

static int64_t mtime_ns(const struct stat *st)
{
	/* a time that 64 bits cannot hold wraps, as the capture's did */
	return (int64_t)((uint64_t)st->st_mtim.tv_sec * NS_PER_S + (uint64_t)st->st_mtim.tv_nsec);
}

/* size of what stands at a file's path; false after a refusal */
static bool check_size(struct gate *gate, const struct manifest_file *file, const struct stat *st)
{
	char name[QUOTE_MAX];
	uint64_t size = (uint64_t)st->st_size;

	(void)gate_quote(file->path, name, sizeof(name));
	if (!S_ISREG(st->st_mode)) {
		gate_refuse_thing(gate, file->path, "file '%s' is no regular file here", name);
		return false;
	}
	if (file->append ? size < file->size : size != file->size) {
		gate_refuse_thing(gate, file->path,
				  "file '%s' has %" PRIu64 " bytes, captured with %s%" PRIu64, name,
				  size, file->append ? "at least " : "", file->size);
		return false;
	}
	return true;
}

static void check_present(struct gate *gate, const struct manifest_file *file)
{
	char name[QUOTE_MAX];
	struct stat st;

	(void)gate_quote(file->path, name, sizeof(name));
	if (stat(file->path, &st) < 0)
		gate_refuse_thing(gate, file->path, "file '%s': %s", name,
				  errno == ENOENT ? "missing" : strerror(errno));
	else if (check_size(gate, file, &st) && !file->append && mtime_ns(&st) != file->mtime_ns)
		gate_refuse_thing(gate, file->path,
				  "file '%s' has mtime %" PRId64 " ns, captured with %" PRId64
				  " ns",
				  name, mtime_ns(&st), file->mtime_ns);
}

static void check_stored(struct gate *gate, int files_fd, const struct manifest_file *file)
{
	char name[QUOTE_MAX];
	struct stat st;
	int r = files_fd < 0 ? files_fd : stat_beneath(files_fd, file->stored, &st);

	if (r < 0) {
		gate_refuse_thing(gate, file->path, "stored file '%s': %s",
				  gate_quote(file->stored, name, sizeof(name)),
				  r == -ENOENT ? "missing" : strerror(-r));
		return;
	}
	if ((uint64_t)st.st_size != file->size) {
		gate_refuse_thing(gate, file->path,
				  "stored file '%s' has %jd bytes, captured with "
				  "%" PRIu64,
				  gate_quote(file->stored, name, sizeof(name)),
				  (intmax_t)st.st_size, file->size);
		return;
	}
	if (stat(file->path, &st) == 0) {
		(void)check_size(gate, file, &st);
		return;
	}
	r = errno == ENOENT ? try_make(file->path) : errno;
	if (r != 0)
		gate_refuse_thing(gate, file->path, "file '%s' cannot be put back: %s",
				  gate_quote(file->path, name, sizeof(name)), strerror(r));
}

void gate_check_file(struct gate *gate)
{
	snap_cleanup_close int files_fd = beneath_open(gate->gen_fd, "files", O_PATH | O_DIRECTORY);

	for (size_t i = 0; i < gate->m->n_files; i++) {
		const struct manifest_file *file = &gate->m->files[i];

		if (file->stored)
			check_stored(gate, files_fd, file);
		else
			check_present(gate, file);
	}
}

void gate_check_dir(struct gate *gate)
{
	for (size_t i = 0; i < gate->m->n_dirs; i++) {
		const char *path = gate->m->dirs[i].path;
		char name[QUOTE_MAX];
		struct stat st;
		int r = 0;

		if (stat(path, &st) < 0)
			r = errno == ENOENT ? try_make(path) : errno;
		else if (!S_ISDIR(st.st_mode))
			r = ENOTDIR;
		if (r == ENOTDIR)
			gate_refuse_thing(gate, path, "dir '%s' is no folder here",
					  gate_quote(path, name, sizeof(name)));
		else if (r != 0)
			gate_refuse_thing(gate, path, "dir '%s' cannot be made: %s",
					  gate_quote(path, name, sizeof(name)), strerror(r));
	}
}
