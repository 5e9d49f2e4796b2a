/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/storage.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add_begun(struct gpu_storage *storage, pid_t pid, void *handle)
{
	struct gpu_begun *bigger =
		reallocarray(storage->begun, storage->n_begun + 1, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	storage->begun = bigger;
	bigger[storage->n_begun++] = (struct gpu_begun){pid, handle};
	return 0;
}

static int add_window(struct gpu_storage *storage, const struct gpu_window *window)
{
	struct gpu_window *bigger =
		reallocarray(storage->windows, storage->n_windows + 1, sizeof(*bigger));

	if (!bigger)
		return -ENOMEM;
	storage->windows = bigger;
	bigger[storage->n_windows++] = *window;
	return 0;
}

/* a mapped address knows no context; its stream does */
static const struct gpu_context *find_context(const struct gpu_driver *driver, void *stream)
{
	const struct gpu_contexts *contexts = gpu_driver_contexts(driver);
	void *context;

	if (driver->storage.stream_context(stream, &context) != GPU_RESULT_OK)
		return NULL;
	for (uint32_t i = 0; i < contexts->n; i++) {
		if (contexts->items[i].context == context)
			return &contexts->items[i];
	}
	return NULL;
}

static bool is_device(const struct gpu_places *places, size_t i, const struct gpu_uuid *uuid)
{
	char hex[2 * sizeof(uuid->bytes) + 1];

	if (places->n_pairs > 0)
		return i < places->n_pairs &&
		       memcmp(&places->pairs[i].new_uuid, uuid, sizeof(*uuid)) == 0;
	for (size_t k = 0; k < sizeof(uuid->bytes); k++)
		(void)snprintf(hex + 2 * k, 3, "%02x", uuid->bytes[k]);
	return strcmp(places->manifest->devices[i].uuid, hex) == 0;
}

static bool find_device(const struct gpu_places *places, const struct gpu_uuid *uuid, uint32_t *ret)
{
	for (size_t i = 0; i < places->manifest->n_devices; i++) {
		if (!is_device(places, i, uuid))
			continue;
		*ret = (uint32_t)i;
		return true;
	}
	return false;
}

static bool has_window(const struct gpu_storage *storage, pid_t pid, uint32_t device)
{
	for (size_t i = 0; i < storage->n_windows; i++) {
		if (storage->windows[i].pid == pid && storage->windows[i].device == device)
			return true;
	}
	return false;
}

static int add_device(struct gpu_storage *storage, const struct gpu_driver *driver, pid_t pid,
		      const struct gpu_storage_device *device, const struct gpu_places *places,
		      struct snap_error *err)
{
	const struct gpu_context *context = find_context(driver, device->stream);
	struct gpu_window window = {
		.pid = pid,
		.address = device->address,
		.bytes = device->bytes,
		.stream = device->stream,
	};

	if (!context || !find_device(places, &context->uuid, &window.device))
		return snap_fail_plain(err, SNAP_E_GPU, ENODEV,
				       "process %d has memory on a GPU that the snapshot does not "
				       "name",
				       (int)pid);
	if (has_window(storage, pid, window.device))
		return snap_fail_plain(err, SNAP_E_GPU, EPROTO,
				       "the CUDA driver gives the memory of process %d on GPU %u "
				       "twice",
				       (int)pid, window.device);
	window.context = context->context;
	return add_window(storage, &window) == 0
		       ? 0
		       : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}

int gpu_storage_add(struct gpu_storage *storage, const struct gpu_driver *driver, pid_t pid,
		    const struct gpu_storage_info *info, const struct gpu_places *places,
		    struct snap_error *err)
{
	int r = 0;

	storage->calls = driver->storage;
	if (!info || add_begun(storage, pid, info->handle) < 0)
		return snap_fail(err, SNAP_E_GPU, info ? ENOMEM : EPROTO,
				 "cannot note the device memory of process %d", (int)pid);
	if (info->n_devices > GPU_DEVICES_MAX)
		return snap_fail_plain(err, SNAP_E_GPU, E2BIG,
				       "process %d has memory on %u GPUs, more than %d", (int)pid,
				       info->n_devices, GPU_DEVICES_MAX);
	for (uint32_t i = 0; r == 0 && i < info->n_devices; i++) {
		if (info->devices[i].bytes > 0)
			r = add_device(storage, driver, pid, &info->devices[i], places, err);
	}
	return r;
}

static int errno_of(int result)
{
	return result == GPU_RESULT_OK ? 0 : -EIO;
}

/* what went wrong on the way may be told by the wait alone */
static int finish(const struct gpu_storage *storage, const struct gpu_window *window, int result)
{
	return errno_of(result == GPU_RESULT_OK ? storage->calls.stream_wait(window->stream)
						: result);
}

int gpu_window_read(const struct gpu_storage *storage, const struct gpu_window *window,
		    uint64_t offset, void *to, size_t bytes)
{
	int result = storage->calls.use_context(window->context);

	if (result == GPU_RESULT_OK)
		result = storage->calls.copy_out(to, window->address + offset, bytes,
						 window->stream);
	return finish(storage, window, result);
}

int gpu_window_write(const struct gpu_storage *storage, const struct gpu_window *window,
		     uint64_t offset, const void *from, size_t bytes)
{
	int result = storage->calls.use_context(window->context);

	if (result == GPU_RESULT_OK)
		result = storage->calls.copy_in(window->address + offset, from, bytes,
						window->stream);
	return finish(storage, window, result);
}

int gpu_window_clear(const struct gpu_storage *storage, const struct gpu_window *window)
{
	int result = storage->calls.use_context(window->context);

	if (result == GPU_RESULT_OK)
		result = storage->calls.fill(window->address, 0, window->bytes, window->stream);
	return finish(storage, window, result);
}

void gpu_storage_done(struct gpu_storage *storage)
{
	free(storage->windows);
	free(storage->begun);
	*storage = (struct gpu_storage){0};
}
