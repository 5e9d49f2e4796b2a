/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "snapshot/identity.h"
#include "snapshot/manifest_json.h"

bool manifest_has_device_files(const struct manifest_gpu *gpu)
{
	return gpu->mode && strcmp(gpu->mode, "storage") == 0;
}

void manifest_init(struct manifest *m)
{
	memset(m, 0, sizeof(*m));
	m->schema = MANIFEST_SCHEMA;
}

void string_list_done(struct string_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct string_list){0};
}

int string_list_add(struct string_list *list, const char *s)
{
	char **items = reallocarray(list->items, list->n + 1, sizeof(*items));
	char *copy;

	if (!items)
		return -ENOMEM;
	list->items = items;
	copy = strdup(s);
	if (!copy)
		return -ENOMEM;
	list->items[list->n++] = copy;
	return 0;
}

void fingerprint_done(struct fingerprint *f)
{
	free(f->machine);
	free(f->kernel_release);
	free(f->kernel_version);
	string_list_done(&f->cpu_flags);
	free(f->criu_version);
	free(f->criu_build_id);
	free(f->setting);
	*f = (struct fingerprint){0};
}

static void gpu_done(struct manifest_gpu *gpu)
{
	for (size_t i = 0; i < gpu->n_devices; i++)
		free(gpu->devices[i].name);
	free(gpu->devices);
	free(gpu->processes);
	free(gpu->staging);
	free(gpu->mode);
	free(gpu->driver);
	free(gpu->library);
	free(gpu->library_build_id);
}

static void done_lists(struct manifest *m)
{
	for (size_t i = 0; i < m->n_files; i++) {
		free(m->files[i].path);
		free(m->files[i].stored);
	}
	for (size_t i = 0; i < m->n_dirs; i++)
		free(m->dirs[i].path);
	for (size_t i = 0; i < m->n_listeners; i++) {
		free(m->listeners[i].protocol);
		free(m->listeners[i].address);
	}
	for (size_t i = 0; i < m->n_images; i++)
		free(m->images[i].name);
	free(m->files);
	free(m->dirs);
	free(m->listeners);
	free(m->images);
	free(m->pids);
	free(m->xcomp);
	free(m->tile_configs);
	free(m->mappings);
}

void manifest_done(struct manifest *m)
{
	free(m->snapinit_version);
	free(m->generation);
	free(m->created);
	identity_done(&m->identity);
	fingerprint_done(&m->host);
	done_lists(m);
	gpu_done(&m->gpu);
	for (size_t i = 0; i < ARRAY_LEN(m->stdio); i++)
		free(m->stdio[i]);
	free(m->ready);
	free(m->oracle_request);
	free(m->oracle_answer);
	free(m->reclaim_request);
	memset(m, 0, sizeof(*m));
}

int manifest_load(int gen_fd, struct manifest *ret, struct snap_error *err)
{
	snap_cleanup_free char *text = NULL;
	struct stat st;
	size_t size;
	int r;

	if (fstatat(gen_fd, MANIFEST_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open '%s'", MANIFEST_NAME);
	if (!S_ISREG(st.st_mode)) {
		(void)snap_fail(err, SNAP_E_CORRUPT, 0, "'%s' is no regular file", MANIFEST_NAME);
		return -EBADMSG;
	}
	if (st.st_size > MANIFEST_SIZE_MAX) {
		(void)snap_fail(err, SNAP_E_CORRUPT, 0, "'%s' is larger than %u bytes",
				MANIFEST_NAME, MANIFEST_SIZE_MAX);
		return -EFBIG;
	}
	r = io_read_file(gen_fd, MANIFEST_NAME, MANIFEST_SIZE_MAX, &text, &size, err);
	if (r < 0)
		return r;
	return manifest_parse(text, size, ret, err);
}

int manifest_save(int gen_fd, const struct manifest *m, struct snap_error *err)
{
	snap_cleanup_free char *text = NULL;
	struct manifest again;
	size_t size;
	int r;

	r = manifest_format(m, &text, &size, err);
	if (r < 0)
		return r;

	/* every rule is in one place, the reader: ask it before a wake has to */
	r = manifest_parse(text, size, &again, err);
	if (r < 0) {
		if (err)
			err->code = SNAP_E_INTERNAL;
		snap_error_prefix(err, "not written");
		return r;
	}
	manifest_done(&again);
	return io_replace_file(gen_fd, MANIFEST_NAME, text, size, 0600, err);
}
