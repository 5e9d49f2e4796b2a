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
#include "snapshot/gpu/errand.h"
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

static int open_in(const char *folder, size_t len, struct nvml *ret, struct snap_error *err)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%.*s/%s", (int)len, folder, NVML_NAME);

	if (n < 0 || (size_t)n >= sizeof(path))
		return snap_fail(err, SNAP_E_GPU, ENAMETOOLONG, "cannot look for %s", NVML_NAME);
	if (access(path, F_OK) < 0)
		return snap_fail(err, SNAP_E_GPU, errno, "cannot open '%s'", path);
	return vendor_library_load(path, RTLD_NOW | RTLD_LOCAL, &ret->library, err);
}

/* where the loader looks, as far as it is known: ours may be the bundle's, which knows its own */
static int open_of_host(struct nvml *ret, struct snap_error *err)
{
	static const char places[] = "/usr/lib/x86_64-linux-gnu:/usr/lib64:/usr/lib:"
				     "/usr/local/nvidia/lib64:/usr/local/nvidia/lib";
	const char *const lists[] = {getenv("LD_LIBRARY_PATH"), places};

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		for (const char *at = lists[i]; at && *at; at += strspn(at, ":")) {
			size_t len = strcspn(at, ":");

			if (*at == '/' && open_in(at, len, ret, NULL) == 0)
				return 0;
			at += len;
		}
	}
	return snap_fail(err, SNAP_E_GPU, ENOENT, "cannot find %s", NVML_NAME);
}

static int open_nvml(const char *libcuda, struct nvml *ret, struct snap_error *err)
{
	const char *slash = libcuda ? strrchr(libcuda, '/') : NULL;
	int r = slash ? open_in(libcuda, (size_t)(slash - libcuda), ret, err)
		      : open_of_host(ret, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_LEN(symbols); i++) {
		void *address = dlsym(ret->library, symbols[i].name);

		if (!address) {
			nvml_close(ret);
			return snap_fail_plain(err, SNAP_E_GPU, ENOSYS, "%s has no %s", NVML_NAME,
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

/* all that the thread uses, and what it finds */
struct request {
	char libcuda[PATH_MAX]; /* "": that of the host */
	struct gpu_host host;
	struct snap_error err;
};

static int run(void *arg)
{
	struct request *request = arg;
	struct nvml nvml = {0};
	int r = open_nvml(request->libcuda[0] ? request->libcuda : NULL, &nvml, &request->err);

	if (r < 0)
		return r;
	r = check(&nvml, "state", nvml.init(NVML_FLAG_NO_ATTACH), &request->err);
	if (r == 0) {
		r = take(&nvml, &request->host, &request->err);
		(void)nvml.shutdown();
	}
	nvml_close(&nvml);
	return r;
}

int gpu_host_take(const char *libcuda, uint64_t deadline_ns, struct gpu_host *ret,
		  struct snap_error *err)
{
	snap_cleanup_free struct request *request = calloc(1, sizeof(*request));
	const struct request *done;
	struct errand *errand;
	int r;

	if (!request)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	(void)snprintf(request->libcuda, sizeof(request->libcuda), "%s", libcuda ? libcuda : "");
	errand = errand_start(run, request, sizeof(*request));
	if (!errand)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot start a thread");
	if (errand_wait(errand, deadline_ns, &r) < 0) {
		errand_drop(errand);
		return snap_fail_plain(err, SNAP_E_GPU, ETIMEDOUT, "NVML does not answer");
	}
	done = errand_arg(errand);
	*ret = done->host;
	if (r < 0 && err)
		*err = done->err;
	errand_drop(errand);
	return r;
}

bool gpu_host_has_mps(void)
{
	const char *folder = getenv("CUDA_MPS_PIPE_DIRECTORY");

	return (folder && folder[0] != '\0') || access(MPS_DEFAULT_PIPE, F_OK) == 0;
}
