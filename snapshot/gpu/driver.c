/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "snapshot/gpu/vendor_library.h"

#define AT(member) offsetof(struct gpu_driver, member)

/* looked up with cuGetProcAddress_v2: the newest form that the function had at that version */
static const struct vendor_symbol symbols[] = {
	{"cuInit", AT(init)},
	{"cuGetErrorName", AT(get_error_name)},
	{"cuCheckpointProcessGetRestoreThreadId", AT(get_restore_thread)},
	{"cuCheckpointProcessGetState", AT(get_state)},
	{"cuCheckpointProcessLock", AT(lock)},
	{"cuCheckpointProcessCheckpoint", AT(checkpoint)},
	{"cuCheckpointProcessRestore", AT(restore)},
	{"cuCheckpointProcessUnlock", AT(unlock)},
	{"cuDeviceGetCount", AT(device_count)},
	{"cuDeviceGet", AT(device_get)},
	{"cuDeviceGetName", AT(device_name)},
	{"cuDeviceGetUuid", AT(device_uuid)},
	{"cuDeviceTotalMem", AT(device_memory)},
	{"cuDeviceGetAttribute", AT(device_attribute)},
};

/*
 * The first is there from CUDA 13.4 on. Of the others the form of the older version is taken: a
 * later cuStreamGetCtx has three arguments.
 */
static const struct vendor_symbol storage_symbols[] = {
	{"cuCheckpointOperationComplete", AT(storage.complete)},
	{"cuDevicePrimaryCtxRetain", AT(storage.retain_context)},
	{"cuCtxSetCurrent", AT(storage.use_context)},
	{"cuStreamGetCtx", AT(storage.stream_context)},
	{"cuStreamSynchronize", AT(storage.stream_wait)},
	{"cuMemcpyDtoHAsync", AT(storage.copy_out)},
	{"cuMemcpyHtoDAsync", AT(storage.copy_in)},
	{"cuMemsetD8Async", AT(storage.fill)},
};

typedef int (*get_version_fn)(int *ret);
typedef int (*get_proc_address_fn)(const char *symbol, void **ret, int version, uint64_t flags,
				   int *ret_status);

/* nothing, or all of it */
static void look_up_storage(struct gpu_driver *driver, get_proc_address_fn get_proc_address)
{
	for (size_t i = 0; i < ARRAY_LEN(storage_symbols); i++) {
		void *address = NULL;
		int status, version = i == 0 ? GPU_CUDA_WITH_STORAGE : GPU_CUDA_WITH_CHECKPOINT;
		int result =
			get_proc_address(storage_symbols[i].name, &address, version, 0, &status);

		if (result != GPU_RESULT_OK || !address) {
			driver->storage = (struct gpu_storage_calls){.complete = NULL};
			return;
		}
		vendor_library_set(driver, storage_symbols[i].offset, address);
	}
}

static int look_up(struct gpu_driver *driver, const char *path, struct snap_error *err)
{
	get_proc_address_fn get_proc_address;
	get_version_fn get_version;
	int result;

	vendor_library_set(&get_version, 0, dlsym(driver->library, "cuDriverGetVersion"));
	vendor_library_set(&get_proc_address, 0, dlsym(driver->library, "cuGetProcAddress_v2"));
	if (!get_version || !get_proc_address)
		return snap_fail_plain(err, SNAP_E_GPU, ENOSYS,
				       "'%s' is no CUDA driver of 12 or later", path);
	result = get_version(&driver->version);
	if (result != GPU_RESULT_OK)
		return snap_fail_plain(err, SNAP_E_GPU, EIO, "cuDriverGetVersion of '%s': %d", path,
				       result);
	if (driver->version < GPU_CUDA_WITH_CHECKPOINT)
		return snap_fail_plain(err, SNAP_E_GPU, ENOSYS,
				       "the CUDA driver is of version %d.%d and cannot checkpoint; "
				       "12.8 (driver 570) or later is needed",
				       driver->version / 1000, driver->version % 1000 / 10);
	for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
		void *address = NULL;
		int status;

		result = get_proc_address(symbols[i].name, &address, GPU_CUDA_WITH_CHECKPOINT, 0,
					  &status);
		if (result != GPU_RESULT_OK || !address)
			return snap_fail_plain(err, SNAP_E_GPU, ENOSYS, "'%s' has no %s", path,
					       symbols[i].name);
		vendor_library_set(driver, symbols[i].offset, address);
	}
	look_up_storage(driver, get_proc_address);
	return 0;
}

int gpu_driver_open(const char *path, struct gpu_driver *ret, struct snap_error *err)
{
	struct gpu_driver driver = {0};
	int r = vendor_library_load(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE, &driver.library,
				    err);

	if (r < 0)
		return r;
	r = look_up(&driver, path, err);
	if (r < 0) {
		gpu_driver_close(&driver);
		return r;
	}
	*ret = driver;
	return 0;
}

bool gpu_driver_has_storage(const struct gpu_driver *driver)
{
	return driver->storage.complete != NULL;
}

/* all that the thread uses, and what it has made */
struct start {
	struct gpu_driver driver;
	bool with_contexts;
	const char *failed; /* the call that did not work */
	struct gpu_contexts contexts;
};

static int retain(struct start *start, int ordinal)
{
	const struct gpu_driver *driver = &start->driver;
	struct gpu_context *context = &start->contexts.items[ordinal];
	int device, result = driver->device_get(&device, ordinal);

	if (result == GPU_RESULT_OK)
		result = driver->device_uuid(&context->uuid, device);
	if (result == GPU_RESULT_OK)
		result = driver->storage.retain_context(&context->context, device);
	if (result == GPU_RESULT_OK)
		start->contexts.n++;
	return result;
}

static int run_start(void *arg)
{
	struct start *start = arg;
	int n = 0, result;

	start->failed = "cuInit";
	result = start->driver.init(0);
	if (result != GPU_RESULT_OK || !start->with_contexts)
		return result;
	start->failed = "cuDevicePrimaryCtxRetain";
	result = start->driver.device_count(&n);
	if (n > GPU_DEVICES_MAX)
		result = GPU_RESULT_NOT_SUPPORTED;
	for (int i = 0; result == GPU_RESULT_OK && i < n; i++)
		result = retain(start, i);
	return result;
}

int gpu_driver_start(struct gpu_driver *driver, bool with_contexts, struct snap_error *err)
{
	const struct start start = {.driver = *driver, .with_contexts = with_contexts};

	driver->init_errand = errand_start(run_start, &start, sizeof(start));
	if (!driver->init_errand)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot start a thread for cuInit");
	return 0;
}

int gpu_driver_wait(struct gpu_driver *driver, uint64_t deadline_ns, struct snap_error *err)
{
	const struct start *start = errand_arg(driver->init_errand);
	char number[16];
	int result;

	if (errand_wait(driver->init_errand, deadline_ns, &result) < 0)
		return snap_fail_plain(err, SNAP_E_GPU, ETIMEDOUT,
				       "the CUDA driver does not start (cuInit)");
	if (result != GPU_RESULT_OK)
		return snap_fail_plain(
			err, SNAP_E_GPU, EIO, "the CUDA driver does not start: %s says %s",
			start->failed,
			gpu_driver_result_name(driver, result, number, sizeof(number)));
	return 0;
}

const struct gpu_contexts *gpu_driver_contexts(const struct gpu_driver *driver)
{
	return &((const struct start *)errand_arg(driver->init_errand))->contexts;
}

const char *gpu_driver_result_name(const struct gpu_driver *driver, int result, char *buf,
				   size_t size)
{
	const char *name = NULL;

	if (driver->get_error_name && driver->get_error_name(result, &name) == GPU_RESULT_OK &&
	    name)
		return name;
	(void)snprintf(buf, size, "%d", result);
	return buf;
}

void gpu_driver_close(struct gpu_driver *driver)
{
	errand_drop(driver->init_errand);
	if (driver->library)
		(void)dlclose(driver->library);
	*driver = (struct gpu_driver){0};
}
