/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/gpu_report.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/output.h"
#include "common/text.h"

/* memory of one CUDA process, by the page files */
struct share {
	uint64_t stored_bytes; /* device memory that has content */
	uint64_t zero_bytes;   /* device memory that is all zero */
	uint64_t host_bytes;   /* its other memory */
};

static bool is_staging(const struct manifest_gpu *gpu, const struct page_region *region)
{
	for (size_t i = 0; i < gpu->n_staging; i++) {
		const struct manifest_gpu_staging *staging = &gpu->staging[i];

		if (staging->pid == region->pid && staging->start < region->end &&
		    region->start < staging->end)
			return true;
	}
	return false;
}

static struct share share_of(const struct manifest_gpu *gpu, int32_t pid,
			     const struct page_map *map)
{
	struct share share = {0};

	for (size_t i = 0; map && i < map->n_regions; i++) {
		const struct page_region *region = &map->regions[i];

		if (region->pid != pid)
			continue;
		if (is_staging(gpu, region)) {
			share.stored_bytes += region->stored_bytes;
			share.zero_bytes += region->zero_bytes;
		} else {
			share.host_bytes += region->stored_bytes + region->zero_bytes +
					    region->shared_bytes + region->kept_bytes;
		}
	}
	return share;
}

static void print_device(const struct manifest_gpu *gpu, size_t i)
{
	const struct manifest_gpu_device *device = &gpu->devices[i];
	char memory[OUTPUT_SIZE_MAX], used[OUTPUT_SIZE_MAX], name[128];

	(void)snprintf(name, sizeof(name), "%s", device->name);
	text_make_printable(name);
	(void)printf("%-13s%s (%u.%u), %s", i == 0 ? "gpu" : "", name, device->compute / 10,
		     device->compute % 10, output_size(device->memory_bytes, memory));
	if (device->used_bytes > 0)
		(void)printf(", %s in use", output_size(device->used_bytes, used));
	if (i == 0 && gpu->driver[0] != '\0') {
		(void)snprintf(name, sizeof(name), "%s", gpu->driver);
		text_make_printable(name);
		(void)printf(", driver %s", name);
	}
	(void)printf("\n");
}

static void print_process(const struct manifest_gpu *gpu, size_t i, const struct page_map *map)
{
	const struct manifest_gpu_process *process = &gpu->processes[i];
	struct share share = share_of(gpu, process->pid, map);
	char device[OUTPUT_SIZE_MAX], zero[OUTPUT_SIZE_MAX], host[OUTPUT_SIZE_MAX];

	(void)printf("             pid %d: %s of device memory", (int)process->pid,
		     output_size(process->staging_bytes, device));
	if (map)
		(void)printf(", %s of it zero; %s of host memory",
			     output_size(share.zero_bytes, zero),
			     output_size(share.host_bytes, host));
	(void)printf("\n");
}

void gpu_report_print(const struct manifest *m, const struct page_map *map)
{
	if (!m->gpu.mode)
		return;
	for (size_t i = 0; i < m->gpu.n_devices; i++)
		print_device(&m->gpu, i);
	for (size_t i = 0; i < m->gpu.n_processes; i++)
		print_process(&m->gpu, i, map);
}

json_t *gpu_report_json(const struct manifest *m, const struct page_map *map)
{
	json_t *list;

	if (!m->gpu.mode)
		return json_null();
	list = json_array();
	for (size_t i = 0; i < m->gpu.n_processes; i++) {
		const struct manifest_gpu_process *process = &m->gpu.processes[i];
		struct share share = share_of(&m->gpu, process->pid, map);

		(void)json_array_append_new(
			list, json_pack("{s:i, s:I, s:I, s:I, s:I}", "pid", (int)process->pid,
					"device_bytes", (json_int_t)process->staging_bytes,
					"stored_bytes", (json_int_t)share.stored_bytes,
					"zero_bytes", (json_int_t)share.zero_bytes, "host_bytes",
					(json_int_t)share.host_bytes));
	}
	return json_pack("{s:s, s:o}", "mode", m->gpu.mode, "processes", list);
}
