/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "snapshot/gpu/call.h"
#include "snapshot/gpu/errand.h"

#define NAME_BYTES 128

struct found {
	struct gpu_uuid uuid;
	char name[NAME_BYTES];
	int major, minor;
	size_t bytes;
};

/* all that the thread uses, and what it finds */
struct request {
	struct gpu_driver driver;
	const char *call; /* the last one that was made */
	int n;
	struct found items[GPU_PAIRS_MAX];
};

static int describe(struct request *request, int ordinal)
{
	const struct gpu_driver *driver = &request->driver;
	struct found *found = &request->items[ordinal];
	int device, result;

	request->call = "cuDeviceGet";
	result = driver->device_get(&device, ordinal);
	if (result != GPU_RESULT_OK)
		return result;
	request->call = "cuDeviceGetUuid";
	result = driver->device_uuid(&found->uuid, device);
	if (result != GPU_RESULT_OK)
		return result;
	request->call = "cuDeviceGetName";
	result = driver->device_name(found->name, sizeof(found->name), device);
	if (result != GPU_RESULT_OK)
		return result;
	request->call = "cuDeviceTotalMem";
	result = driver->device_memory(&found->bytes, device);
	if (result != GPU_RESULT_OK)
		return result;
	request->call = "cuDeviceGetAttribute";
	result = driver->device_attribute(&found->major, GPU_DEVICE_ATTRIBUTE_MAJOR, device);
	if (result != GPU_RESULT_OK)
		return result;
	return driver->device_attribute(&found->minor, GPU_DEVICE_ATTRIBUTE_MINOR, device);
}

static int run(void *arg)
{
	struct request *request = arg;
	int result;

	request->call = "cuDeviceGetCount";
	result = request->driver.device_count(&request->n);
	for (int i = 0; result == GPU_RESULT_OK && i < request->n && i < GPU_PAIRS_MAX; i++)
		result = describe(request, i);
	return result;
}

static void format_uuid(const struct gpu_uuid *uuid, char ret[33])
{
	for (size_t i = 0; i < sizeof(uuid->bytes); i++)
		(void)snprintf(ret + 2 * i, 3, "%02x", uuid->bytes[i]);
}

void gpu_devices_free(struct manifest_gpu_device *devices, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(devices[i].name);
	free(devices);
}

static int copy(const struct request *request, struct manifest_gpu_device **ret, size_t *ret_n,
		struct snap_error *err)
{
	size_t n = (size_t)request->n;
	struct manifest_gpu_device *devices = calloc(n + 1, sizeof(*devices));
	bool enough = devices != NULL;

	for (size_t i = 0; enough && i < n; i++) {
		const struct found *found = &request->items[i];

		format_uuid(&found->uuid, devices[i].uuid);
		devices[i].compute = (uint32_t)(found->major * 10 + found->minor);
		devices[i].memory_bytes = found->bytes;
		devices[i].name = strndup(found->name, sizeof(found->name));
		enough = devices[i].name != NULL;
	}
	if (!enough) {
		if (devices)
			gpu_devices_free(devices, n);
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	}
	*ret = devices;
	*ret_n = n;
	return 0;
}

int gpu_devices_list(const struct gpu_driver *driver, uint64_t deadline_ns,
		     struct manifest_gpu_device **ret, size_t *ret_n, struct snap_error *err)
{
	struct request *request = calloc(1, sizeof(*request));
	const struct request *done;
	struct errand *errand;
	int result = GPU_RESULT_OK, r;
	char number[16];

	if (!request)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	request->driver = *driver;
	errand = errand_start(run, request, sizeof(*request));
	free(request);
	if (!errand)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot start a thread");
	if (errand_wait(errand, deadline_ns, &result) < 0) {
		errand_drop(errand);
		return snap_fail_plain(err, SNAP_E_GPU, ETIMEDOUT,
				       "the CUDA driver does not tell its GPUs: no answer");
	}
	done = errand_arg(errand);
	if (result != GPU_RESULT_OK)
		r = snap_fail_plain(err, SNAP_E_GPU, EIO, "%s: %s", done->call,
				    gpu_driver_result_name(driver, result, number, sizeof(number)));
	else if (done->n < 0 || done->n > GPU_PAIRS_MAX)
		r = snap_fail_plain(err, SNAP_E_GPU, E2BIG, "%d GPUs are more than %d", done->n,
				    GPU_PAIRS_MAX);
	else
		r = copy(done, ret, ret_n, err);
	errand_drop(errand);
	return r;
}
