/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_PAGES_REPORT_H
#define SNAP_CLI_PAGES_REPORT_H

/*
 * What became of a snapshot's memory, mapping by mapping, and how long a wake of it may take: for
 * people who wonder where the bytes are.
 */

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/manifest.h"
#include "snapshot/pages/map.h"

#define PAGES_REPORT_TOP 10U /* mappings that are shown unless all are asked for */

/*
 * What a wake costs beside the streamed bytes (docs/performance.md): worker, gate and CRIU's
 * work on a tiny tree, and CRIU's own restore of the pages that were left with it.
 */
#define WAKE_FIXED_MS	     80U
#define WAKE_CRIU_US_PER_MIB 3500U

struct pages_row {
	const struct page_region *region;
	uint64_t data_bytes; /* of pages.dat; data used twice is counted at its first use */
};

struct pages_report {
	struct page_map map;
	struct pages_row *rows; /* the largest first */
	struct pages_row total; /* its region: sums */
	struct page_region sums;
	uint64_t memory_bytes;		/* that a wake fills */
	uint64_t read_bytes;		/* that it reads for this */
	size_t codecs[PAGE_CODEC_MAX_]; /* chunks */
};

struct wake_forecast {
	uint64_t fixed_ms, criu_ms, stream_ms;
};

/* *ret is the caller's to pages_report_done(), and does not move */
int pages_report_take(int gen_fd, struct pages_report *ret, struct snap_error *err);

/* the same of a map that is there; takes its tables */
int pages_report_make(struct page_map *map, struct pages_report *ret);
void pages_report_done(struct pages_report *report); /* idempotent */

void pages_report_print(const struct pages_report *report, bool all);
json_t *pages_report_json(const struct pages_report *report);

/* why pages were left with CRIU, "stack, small"; as long as it fits */
const char *pages_kept_words(uint32_t kept, char *buf, size_t size);

/* "2.5" GB a second to bytes a second; SNAP_E_USAGE */
int wake_rate_parse(const char *text, double *ret, struct snap_error *err);

/* report NULL: all memory is in CRIU's images */
struct wake_forecast wake_forecast(const struct manifest *m, const struct pages_report *report,
				   double rate);

#endif
