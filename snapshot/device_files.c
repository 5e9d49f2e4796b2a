/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/device_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "snapshot/steps.h"

/* spaces of a map, and the window of each */
struct mover {
	const struct gpu_storage *storage;
	const struct page_map *map;
	const struct gpu_window **windows;
};

static const struct gpu_window *window_of(const struct mover *mover, const struct page_space *space)
{
	return mover->windows[space - mover->map->spaces];
}

static int read_device(void *arg, const struct page_space *space, uint64_t offset, void *to,
		       size_t bytes)
{
	const struct mover *mover = arg;

	return gpu_window_read(mover->storage, window_of(mover, space), offset, to, bytes);
}

static int write_device(void *arg, const struct page_space *space, uint64_t offset,
			const void *from, size_t bytes)
{
	const struct mover *mover = arg;

	return gpu_window_write(mover->storage, window_of(mover, space), offset, from, bytes);
}

int device_files_reserve(struct device_files *files, uint64_t bytes, struct snap_error *err)
{
	int r = files->is_reserved ? 0
				   : pages_reserve(files->gen_fd, PAGE_FILES_DEVICES, bytes, err);

	files->is_reserved = r == 0;
	return r;
}

static int plan_window(struct pages_plan *plan, const struct gpu_window *window)
{
	const uint32_t i = (uint32_t)plan->map.n_spaces;
	const uint64_t end = page_round_up(window->bytes);
	const struct page_space space = {
		.kind = PAGE_SPACE_DEVICE,
		.pid = (int32_t)window->pid,
		.fd = (int32_t)window->device,
		.object_bytes = window->bytes,
	};
	const struct pages_run run = {.bytes = end, .space = i, .region = i};
	struct page_region region = {
		.end = end,
		.pid = space.pid,
		.prot = PROT_READ | PROT_WRITE,
	};
	int r = window->bytes > PAGE_MAP_OBJECT_MAX ? -EFBIG : 0;

	(void)snprintf(region.name, sizeof(region.name), "GPU %u", window->device);
	if (r == 0)
		r = page_map_add_space(&plan->map, &space);
	if (r == 0)
		r = page_map_add_region(&plan->map, &region);
	return r == 0 ? pages_plan_add_run(plan, &run) : r;
}

static int write_files(struct device_files *files, const struct gpu_storage *storage,
		       struct pages_plan *plan, struct snap_error *err)
{
	snap_cleanup_free const struct gpu_window **windows =
		calloc(storage->n_windows + 1, sizeof(*windows));
	struct mover mover = {.storage = storage, .map = &plan->map, .windows = windows};
	const struct page_device device = {.read = read_device, .arg = &mover};
	const struct pages_write_options options = {
		.compress = files->compress,
		.device = &device,
		.is_reserved = files->is_reserved,
	};
	int r = windows ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < storage->n_windows; i++) {
		windows[i] = &storage->windows[i];
		r = plan_window(plan, windows[i]);
	}
	if (r < 0)
		return snap_fail(err, SNAP_E_DUMP, -r, "cannot save device memory");
	r = pages_write(plan, files->gen_fd, &options, &files->written, err);
	return r == 0 ? page_map_save(files->gen_fd, &plan->map, err) : r;
}

static int save(void *arg, const struct gpu_storage *storage, struct snap_error *err)
{
	struct device_files *files = arg;
	struct pages_plan plan = {.map = {.files = PAGE_FILES_DEVICES}};
	int r = write_files(files, storage, &plan, err);

	if (r == 0) {
		page_map_done(&files->map);
		files->map = plan.map;
		plan.map = (struct page_map){0};
		r = steps_fault("device-written", err);
	}
	pages_plan_done(&plan);
	files->is_saved = r == 0;
	if (r == 0 && files->note)
		r = files->note(files->arg, err);
	return r == 0 ? steps_fault("device-noted", err) : r;
}

static const struct gpu_window *find_window(const struct gpu_storage *storage,
					    const struct page_space *space)
{
	for (size_t i = 0; i < storage->n_windows; i++) {
		const struct gpu_window *window = &storage->windows[i];

		if (window->pid == space->pid && (int32_t)window->device == space->fd)
			return window;
	}
	return NULL;
}

/* every window has its space and every space its window, of the same size */
static int match(const struct mover *mover, struct snap_error *err)
{
	const struct page_map *map = mover->map;

	for (size_t i = 0; i < map->n_spaces; i++) {
		const struct page_space *space = &map->spaces[i];
		const struct gpu_window *window = find_window(mover->storage, space);

		mover->windows[i] = window;
		if (!window || window->bytes != space->object_bytes)
			return snap_fail_plain(err, SNAP_E_RESTORE, EBADMSG,
					       "the CUDA driver gives process %d %" PRIu64
					       " bytes on GPU %d, %s has %" PRIu64,
					       (int)space->pid, window ? window->bytes : 0,
					       (int)space->fd, DEVICE_MAP_NAME,
					       space->object_bytes);
	}
	return map->n_spaces == mover->storage->n_windows
		       ? 0
		       : snap_fail_plain(err, SNAP_E_RESTORE, EBADMSG,
					 "the CUDA driver gives %zu parts of device memory, %s has "
					 "%zu",
					 mover->storage->n_windows, DEVICE_MAP_NAME, map->n_spaces);
}

static int load(void *arg, const struct gpu_storage *storage, struct snap_error *err)
{
	struct device_files *files = arg;
	snap_cleanup_free const struct gpu_window **windows =
		calloc(files->map.n_spaces + 1, sizeof(*windows));
	struct mover mover = {.storage = storage, .map = &files->map, .windows = windows};
	const struct page_device device = {.write = write_device, .arg = &mover};
	struct fill_options options = files->fill;
	struct fill_result result;
	int r;

	if (!windows)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	r = match(&mover, err);
	/* pages of zeros are in no file */
	for (size_t i = 0; r == 0 && i < storage->n_windows; i++) {
		r = gpu_window_clear(storage, &storage->windows[i]);
		if (r < 0)
			return snap_fail_plain(err, SNAP_E_GPU, EIO,
					       "cannot clear device memory of process %d",
					       (int)storage->windows[i].pid);
	}
	options.device = &device;
	if (r == 0)
		r = pages_fill(&files->map, files->gen_fd, &options, &result, err);
	return r == 0 ? steps_fault("device-filled", err) : r;
}

struct gpu_content device_files_content(struct device_files *files)
{
	return (struct gpu_content){.save = save, .load = load, .arg = files};
}

void device_files_done(struct device_files *files)
{
	page_map_done(&files->map);
}
