/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_GPU_REPORT_H
#define SNAP_CLI_GPU_REPORT_H

/* What of a snapshot is device memory, and on which GPUs it was: for people. */

#include <jansson.h>

#include "snapshot/manifest.h"
#include "snapshot/pages/map.h"

/*
 * Nothing for a snapshot without GPU. map NULL: all memory is in CRIU's images; devices:
 * device.map, NULL: the snapshot has none, or it is unreadable
 */
void gpu_report_print(const struct manifest *m, const struct page_map *map,
		      const struct page_map *devices);

/* null for a snapshot without GPU; the caller's */
json_t *gpu_report_json(const struct manifest *m, const struct page_map *map,
			const struct page_map *devices);

#endif
