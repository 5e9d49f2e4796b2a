/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/gpu/call.h"

#define NAME_BYTES 128

static int fail_call(const struct gpu_driver *driver, const char *name, int result,
		     struct snap_error *err)
{
	char number[16];

	return snap_fail_plain(err, SNAP_E_GPU, EIO, "%s: %s", name,
			       gpu_driver_result_name(driver, result, number, sizeof(number)));
}

static void format_uuid(const struct gpu_uuid *uuid, char ret[33])
{
	for (size_t i = 0; i < sizeof(uuid->bytes); i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", uuid->bytes[i]);
}

static int describe(const struct gpu_driver *driver, int ordinal, struct manifest_gpu_device *ret,
		    struct snap_error *err)
{
	char name[NAME_BYTES] = "";
	int device, major, minor, result;
	struct gpu_uuid uuid;
	size_t bytes;

	result = driver->device_get(&device, ordinal);
	if (result != GPU_RESULT_OK)
		return fail_call(driver, "cuDeviceGet", result, err);
	result = driver->device_uuid(&uuid, device);
	if (result != GPU_RESULT_OK)
		return fail_call(driver, "cuDeviceGetUuid", result, err);
	result = driver->device_name(name, sizeof(name), device);
	if (result != GPU_RESULT_OK)
		return fail_call(driver, "cuDeviceGetName", result, err);
	result = driver->device_memory(&bytes, device);
	if (result != GPU_RESULT_OK)
		return fail_call(driver, "cuDeviceTotalMem", result, err);
	result = driver->device_attribute(&major, GPU_DEVICE_ATTRIBUTE_MAJOR, device);
	if (result == GPU_RESULT_OK)
		result = driver->device_attribute(&minor, GPU_DEVICE_ATTRIBUTE_MINOR, device);
	if (result != GPU_RESULT_OK)
		return fail_call(driver, "cuDeviceGetAttribute", result, err);
	format_uuid(&uuid, ret->uuid);
	ret->compute = (uint32_t)(major * 10 + minor);
	ret->memory_bytes = bytes;
	ret->name = strdup(name);
	return ret->name ? 0 : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}

void gpu_devices_free(struct manifest_gpu_device *devices, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(devices[i].name);
	free(devices);
}

int gpu_devices_list(const struct gpu_driver *driver, struct manifest_gpu_device **ret,
		     size_t *ret_n, struct snap_error *err)
{
	struct manifest_gpu_device *devices;
	int n, result = driver->device_count(&n), r = 0;

	if (result != GPU_RESULT_OK)
		return fail_call(driver, "cuDeviceGetCount", result, err);
	if (n < 0 || n > GPU_PAIRS_MAX)
		return snap_fail_plain(err, SNAP_E_GPU, E2BIG, "%d GPUs are more than %d", n,
				       GPU_PAIRS_MAX);
	devices = calloc((size_t)n + 1, sizeof(*devices));
	if (!devices)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (int i = 0; r == 0 && i < n; i++)
		r = describe(driver, i, &devices[i], err);
	if (r < 0) {
		gpu_devices_free(devices, (size_t)n);
		return r;
	}
	*ret = devices;
	*ret_n = (size_t)n;
	return 0;
}
