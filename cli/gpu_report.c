/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/gpu_report.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/output.h"
#include "common/text.h"

/* memory of one CUDA process, by the page files */
struct share {
	uint64_t device_bytes; /* device memory, all of it */
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

static void add_devices(struct share *share, int32_t pid, const struct page_map *devices)
{
	for (size_t i = 0; i < devices->n_spaces; i++) {
		if (devices->spaces[i].pid == pid)
			share->device_bytes += devices->spaces[i].object_bytes;
	}
	for (size_t i = 0; i < devices->n_regions; i++) {
		if (devices->regions[i].pid != pid)
			continue;
		share->stored_bytes += devices->regions[i].stored_bytes;
		share->zero_bytes += devices->regions[i].zero_bytes;
	}
}

static struct share share_of(const struct manifest_gpu *gpu,
			     const struct manifest_gpu_process *process, const struct page_map *map,
			     const struct page_map *devices)
{
	struct share share = {.device_bytes = process->staging_bytes};

	for (size_t i = 0; map && i < map->n_regions; i++) {
		const struct page_region *region = &map->regions[i];

		if (region->pid != process->pid)
			continue;
		if (is_staging(gpu, region)) {
			share.stored_bytes += region->stored_bytes;
			share.zero_bytes += region->zero_bytes;
		} else {
			share.host_bytes += region->stored_bytes + region->zero_bytes +
					    region->shared_bytes + region->kept_bytes;
		}
	}
	if (devices)
		add_devices(&share, process->pid, devices);
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

static void print_process(const struct manifest_gpu *gpu, size_t i, const struct page_map *map,
			  const struct page_map *devices)
{
	const struct manifest_gpu_process *process = &gpu->processes[i];
	struct share share = share_of(gpu, process, map, devices);
	char device[OUTPUT_SIZE_MAX], zero[OUTPUT_SIZE_MAX], host[OUTPUT_SIZE_MAX];

	(void)printf("             pid %d: %s of device memory", (int)process->pid,
		     output_size(share.device_bytes, device));
	if (map || devices)
		(void)printf(", %s of it zero; %s of host memory",
			     output_size(share.zero_bytes, zero),
			     output_size(share.host_bytes, host));
	(void)printf("\n");
}

void gpu_report_print(const struct manifest *m, const struct page_map *map,
		      const struct page_map *devices)
{
	char data[OUTPUT_SIZE_MAX];

	if (!m->gpu.mode)
		return;
	for (size_t i = 0; i < m->gpu.n_devices; i++)
		print_device(&m->gpu, i);
	if (devices)
		(void)printf("             mode storage, %s of " DEVICE_DATA_NAME "\n",
			     output_size(devices->data_bytes, data));
	for (size_t i = 0; i < m->gpu.n_processes; i++)
		print_process(&m->gpu, i, map, devices);
}

json_t *gpu_report_json(const struct manifest *m, const struct page_map *map,
			const struct page_map *devices)
{
	json_t *list;

	if (!m->gpu.mode)
		return json_null();
	list = json_array();
	for (size_t i = 0; i < m->gpu.n_processes; i++) {
		const struct manifest_gpu_process *process = &m->gpu.processes[i];
		struct share share = share_of(&m->gpu, process, map, devices);

		(void)json_array_append_new(
			list, json_pack("{s:i, s:I, s:I, s:I, s:I}", "pid", (int)process->pid,
					"device_bytes", (json_int_t)share.device_bytes,
					"stored_bytes", (json_int_t)share.stored_bytes,
					"zero_bytes", (json_int_t)share.zero_bytes, "host_bytes",
					(json_int_t)share.host_bytes));
	}
	return json_pack("{s:s, s:I, s:o}", "mode", m->gpu.mode, "file_bytes",
			 (json_int_t)(devices ? devices->data_bytes : 0), "processes", list);
}
