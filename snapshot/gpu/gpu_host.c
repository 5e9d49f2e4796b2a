/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/gpu_host.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/gpu/vendor_library.h"

#define NVML_NAME	     "libnvidia-ml.so.1"
#define NVML_OK		     0
#define NVML_NOT_SUPPORTED   3 /* MIG: this GPU cannot */
#define NVML_FLAG_NO_ATTACH  2 /* do not wake GPUs that nobody uses */
#define NVML_MIG_ENABLED     1
#define NVML_UUID_TEXT_BYTES 96
#define MPS_DEFAULT_PIPE     "/tmp/nvidia-mps/control"

typedef struct nvml_device *nvml_device;

/* the layout of nvmlMemory_t */
struct nvml_memory {
	unsigned long long total;
	unsigned long long free;
	unsigned long long used;
};

/* results are nvmlReturn_t */
struct nvml {
	void *library;
	int (*init)(unsigned int flags);
	int (*shutdown)(void);
	const char *(*error_string)(int result);
	int (*driver_version)(char *ret, unsigned int size);
	int (*count)(unsigned int *ret);
	int (*by_index)(unsigned int index, nvml_device *ret);
	int (*uuid)(nvml_device device, char *ret, unsigned int size);
	int (*name)(nvml_device device, char *ret, unsigned int size);
	int (*memory)(nvml_device device, struct nvml_memory *ret);
	int (*mig_mode)(nvml_device device, unsigned int *ret_now, unsigned int *ret_next);
	int (*compute)(nvml_device device, int *ret_major, int *ret_minor);
};

#define AT(member) offsetof(struct nvml, member)

static const struct vendor_symbol symbols[] = {
	{"nvmlInitWithFlags", AT(init)},
	{"nvmlShutdown", AT(shutdown)},
	{"nvmlErrorString", AT(error_string)},
	{"nvmlSystemGetDriverVersion", AT(driver_version)},
	{"nvmlDeviceGetCount_v2", AT(count)},
	{"nvmlDeviceGetHandleByIndex_v2", AT(by_index)},
	{"nvmlDeviceGetUUID", AT(uuid)},
	{"nvmlDeviceGetName", AT(name)},
	{"nvmlDeviceGetMemoryInfo", AT(memory)},
	{"nvmlDeviceGetMigMode", AT(mig_mode)},
	{"nvmlDeviceGetCudaComputeCapability", AT(compute)},
};

static void nvml_close(struct nvml *nvml)
{
	if (nvml->library)
		(void)dlclose(nvml->library);
	*nvml = (struct nvml){0};
}

static int open_beside(const char *libcuda, struct nvml *ret, struct snap_error *err)
{
	const char *slash = strrchr(libcuda, '/');
	char path[PATH_MAX];
	int n, r;

	n = snprintf(path, sizeof(path), "%.*s/%s", slash ? (int)(slash - libcuda) : 0, libcuda,
		     NVML_NAME);
	if (n < 0 || (size_t)n >= sizeof(path))
		return snap_fail(err, SNAP_E_GPU, ENAMETOOLONG, "cannot look for %s", NVML_NAME);
	r = vendor_library_load(path, RTLD_NOW | RTLD_LOCAL, &ret->library, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
		void *address = dlsym(ret->library, symbols[i].name);

		if (!address) {
			nvml_close(ret);
			return snap_fail_plain(err, SNAP_E_GPU, ENOSYS, "'%s' has no %s", path,
					       symbols[i].name);
		}
		vendor_library_set(ret, symbols[i].offset, address);
	}
	return 0;
}

static int check(const struct nvml *nvml, const char *what, int result, struct snap_error *err)
{
	if (result == NVML_OK)
		return 0;
	return snap_fail_plain(err, SNAP_E_GPU, EIO, "NVML does not tell the %s of the GPUs: %s",
			       what, nvml->error_string(result));
}

/* "GPU-0123abcd-…" to 32 digits */
static int read_uuid(const char *text, char ret[33])
{
	size_t n = 0;

	text += strncmp(text, "GPU-", 4) == 0 ? 4 : 0;
	for (; *text; text++) {
		if (*text == '-')
			continue;
		if (!isxdigit((unsigned char)*text) || n == 32)
			return -EINVAL;
		ret[n++] = (char)tolower((unsigned char)*text);
	}
	ret[n] = '\0';
	return n == 32 ? 0 : -EINVAL;
}

static int describe(const struct nvml *nvml, unsigned int index, struct gpu_host_device *ret,
		    struct snap_error *err)
{
	char uuid[NVML_UUID_TEXT_BYTES] = "";
	unsigned int mig = 0, next = 0;
	struct nvml_memory memory = {0};
	int major = 0, minor = 0, r, result;
	nvml_device device;

	r = check(nvml, "handles", nvml->by_index(index, &device), err);
	if (r == 0)
		r = check(nvml, "UUIDs", nvml->uuid(device, uuid, sizeof(uuid)), err);
	if (r == 0)
		r = check(nvml, "names", nvml->name(device, ret->name, sizeof(ret->name)), err);
	if (r == 0)
		r = check(nvml, "memory", nvml->memory(device, &memory), err);
	if (r == 0)
		r = check(nvml, "kinds", nvml->compute(device, &major, &minor), err);
	if (r < 0)
		return r;
	result = nvml->mig_mode(device, &mig, &next);
	if (result != NVML_OK && result != NVML_NOT_SUPPORTED)
		return check(nvml, "MIG mode", result, err);
	if (read_uuid(uuid, ret->uuid) < 0)
		return snap_fail_plain(err, SNAP_E_GPU, EIO, "'%.60s' is no UUID of a GPU", uuid);
	ret->compute = (uint32_t)(major * 10 + minor);
	ret->memory_bytes = memory.total;
	ret->free_bytes = memory.free;
	ret->mig = result == NVML_OK && mig == NVML_MIG_ENABLED;
	return 0;
}

static int take(const struct nvml *nvml, struct gpu_host *ret, struct snap_error *err)
{
	unsigned int n = 0;
	int r = check(nvml, "driver", nvml->driver_version(ret->driver, sizeof(ret->driver)), err);

	if (r == 0)
		r = check(nvml, "number", nvml->count(&n), err);
	if (r == 0 && n > GPU_HOST_DEVICES_MAX)
		r = snap_fail_plain(err, SNAP_E_GPU, E2BIG, "%u GPUs are more than %d", n,
				    GPU_HOST_DEVICES_MAX);
	for (unsigned int i = 0; r == 0 && i < n; i++)
		r = describe(nvml, i, &ret->devices[i], err);
	ret->n = n;
	return r;
}

int gpu_host_take(const char *libcuda, struct gpu_host *ret, struct snap_error *err)
{
	struct nvml nvml = {0};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = open_beside(libcuda, &nvml, err);
	if (r < 0)
		return r;
	r = check(&nvml, "state", nvml.init(NVML_FLAG_NO_ATTACH), err);
	if (r == 0) {
		r = take(&nvml, ret, err);
		(void)nvml.shutdown();
	}
	nvml_close(&nvml);
	return r;
}

bool gpu_host_has_mps(void)
{
	const char *folder = getenv("CUDA_MPS_PIPE_DIRECTORY");

	return (folder && folder[0] != '\0') || access(MPS_DEFAULT_PIPE, F_OK) == 0;
}
