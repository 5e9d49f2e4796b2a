/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Do this host's driver and GPUs take what the snapshot has in device memory? The restored process
 * brings the old user-space driver along and talks to the kernel's part here, so both must be of
 * one version; and after a restore that failed for want of memory the GPU's memory is lost until
 * the process ends, so free memory is looked at before.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "snapshot/elf.h"
#include "snapshot/gate_check.h"
#include "snapshot/gpu/gpu_host.h"

#define QUOTE_MAX     80
#define BUILD_ID_SIZE 41
#define MIB	      ((uint64_t)1048576)
#define FREE_SLACK    (64 * MIB) /* contexts and tables of the driver's own vary a little */

static void check_library(struct gate *gate)
{
	const struct manifest_gpu *had = &gate->m->gpu;
	char build_id[BUILD_ID_SIZE] = "", path[QUOTE_MAX];
	int r = elf_build_id(had->library, build_id, sizeof(build_id));

	if (r < 0 && r != -ENODATA)
		gate_refuse_thing(gate, "library", "gpu: cannot read '%s': %s",
				  gate_quote(had->library, path, sizeof(path)), strerror(-r));
	else if (strcmp(build_id, had->library_build_id) != 0)
		gate_refuse_thing(gate, "library", "gpu: '%s' is another build of the CUDA driver",
				  gate_quote(had->library, path, sizeof(path)));
}

static void check_device(struct gate *gate, size_t i, const struct gpu_host_device *here)
{
	const struct manifest_gpu_device *had = &gate->m->gpu.devices[i];
	char a[QUOTE_MAX], b[QUOTE_MAX];
	uint64_t need;

	if (strcmp(here->name, had->name) != 0 || here->compute != had->compute)
		gate_refuse_thing(gate, "model", "gpu %zu is %s (%u.%u), captured on %s (%u.%u)", i,
				  gate_quote(here->name, a, sizeof(a)), here->compute / 10,
				  here->compute % 10, gate_quote(had->name, b, sizeof(b)),
				  had->compute / 10, had->compute % 10);
	else if (here->memory_bytes != had->memory_bytes)
		gate_refuse_thing(gate, "memory",
				  "gpu %zu has %" PRIu64 " MiB of memory, captured on %" PRIu64, i,
				  here->memory_bytes / MIB, had->memory_bytes / MIB);
	if (here->mig)
		gate_refuse_thing(
			gate, "mig",
			"gpu %zu is divided into instances (MIG), which the driver cannot "
			"restore to",
			i);
	if (had->used_bytes == 0 || __builtin_add_overflow(had->used_bytes, FREE_SLACK, &need))
		return;
	if (here->free_bytes < need)
		gate_refuse_thing(gate, "free",
				  "gpu %zu has %" PRIu64 " MiB free, %" PRIu64 " MiB are needed", i,
				  here->free_bytes / MIB, need / MIB);
}

static void check_host(struct gate *gate, const struct gpu_host *here)
{
	const struct manifest_gpu *had = &gate->m->gpu;
	char a[QUOTE_MAX], b[QUOTE_MAX];

	if (strcmp(here->driver, had->driver) != 0)
		gate_refuse_thing(gate, "driver", "gpu: the driver is %s, captured with %s",
				  gate_quote(here->driver, a, sizeof(a)),
				  gate_quote(had->driver, b, sizeof(b)));
	if (here->n != had->n_devices)
		gate_refuse_thing(gate, "count", "gpu: %zu here, captured with %zu", here->n,
				  had->n_devices);
	for (size_t i = 0; i < here->n && i < had->n_devices; i++)
		check_device(gate, i, &here->devices[i]);
}

void gate_check_gpu(struct gate *gate)
{
	const struct manifest_gpu *had = &gate->m->gpu;
	snap_cleanup_free struct gpu_host *here = malloc(sizeof(*here));
	struct snap_error err;

	if (!had->mode)
		return;
	check_library(gate);
	if (gpu_host_has_mps())
		gate_refuse_thing(gate, "mps",
				  "gpu: a Multi-Process Service runs here, which the driver cannot "
				  "restore into");
	/* captured where NVML was not to be had: the driver itself will tell, later */
	if (had->driver[0] == '\0')
		return;
	if (!here) {
		gate_refuse_thing(gate, "host", "gpu: out of memory");
	} else if (gpu_host_take(gate->is_trusted ? had->library : NULL,
				 deadline_after_ms(GPU_HOST_MS), here, &err) < 0) {
		gate_refuse_thing(gate, "host", "gpu: %s", err.msg);
	} else {
		check_host(gate, here);
		gate->gpu_host = TAKE_PTR(here);
	}
}
