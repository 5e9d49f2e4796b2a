/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pages_report.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cli/output.h"
#include "common/cleanup.h"
#include "snapshot/pages/codec.h"

#define RATE_MAX  1e6 /* GB a second; beyond it somebody meant another unit */
#define WORDS_MAX 160U

static const char *const kept_names[] = {
	"small",   "stack",  "thread", "copy-on-write", "locked",
	"hugetlb", "sealed", "kind",   "swapped",	"unreachable",
};

const char *pages_kept_words(uint32_t kept, char *buf, size_t size)
{
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(kept_names) && used < size; i++) {
		if (kept >> i & 1)
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "",
						 kept_names[i]);
	}
	return buf;
}

/* of a mapping, all that is or was present */
static uint64_t size_of(const struct page_region *r)
{
	return r->stored_bytes + r->zero_bytes + r->shared_bytes + r->kept_bytes;
}

static int compare_rows(const void *a, const void *b)
{
	const struct page_region *x = ((const struct pages_row *)a)->region;
	const struct page_region *y = ((const struct pages_row *)b)->region;

	if (size_of(x) != size_of(y))
		return size_of(x) < size_of(y) ? 1 : -1;
	if (x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	return (x->start > y->start) - (x->start < y->start);
}

/* private mappings by process and address, shared objects behind them in the map's order */
static int compare_places(const void *a, const void *b)
{
	const struct page_region *x = ((const struct pages_row *)a)->region;
	const struct page_region *y = ((const struct pages_row *)b)->region;

	if (x->shared != y->shared)
		return x->shared < y->shared ? -1 : 1;
	if (!x->shared && x->pid != y->pid)
		return x->pid < y->pid ? -1 : 1;
	if (!x->shared && x->start != y->start)
		return x->start < y->start ? -1 : 1;
	return (x > y) - (x < y);
}

/* of rows sorted by place, the last that begins at or below the address, if it reaches it */
static struct pages_row *find_private(struct pages_row *rows, size_t n, int32_t pid,
				      uint64_t address)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct page_region *r = rows[middle].region;

		if (r->pid < pid || (r->pid == pid && r->start <= address))
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || rows[low - 1].region->pid != pid || rows[low - 1].region->end <= address)
		return NULL;
	return &rows[low - 1];
}

/* the next of the shared rows that is this object's */
static struct pages_row *find_shared(struct pages_row *rows, size_t n, size_t *at,
				     const struct page_space *space)
{
	uint64_t end = page_round_up(space->object_bytes);

	for (size_t i = *at; i < n; i++) {
		if (rows[i].region->pid == space->pid && rows[i].region->end == end &&
		    !rows[i].region->kept) {
			*at = i + 1;
			return &rows[i];
		}
	}
	return NULL;
}

static int compare_offsets(const void *a, const void *b)
{
	const struct page_chunk *x = *(const struct page_chunk *const *)a;
	const struct page_chunk *y = *(const struct page_chunk *const *)b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return (x > y) - (x < y);
}

/* is_first[i]: no chunk before i has the same data */
static int find_first_uses(const struct page_map *map, bool *is_first)
{
	snap_cleanup_free const struct page_chunk **sorted =
		calloc(map->n_chunks + 1, sizeof(*sorted));

	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < map->n_chunks; i++)
		sorted[i] = &map->chunks[i];
	qsort(sorted, map->n_chunks, sizeof(*sorted), compare_offsets);
	for (size_t i = 0; i < map->n_chunks; i++)
		is_first[sorted[i] - map->chunks] =
			i == 0 || sorted[i]->offset != sorted[i - 1]->offset;
	return 0;
}

/* a chunk's data to the mappings that its extents are in, by their share of it */
static void share_out(struct pages_report *report, const struct page_chunk *chunk,
		      struct pages_row *shared, size_t n_private)
{
	const struct page_map *map = &report->map;
	uint64_t left = chunk->stored_bytes;

	for (uint32_t i = 0; i < chunk->n_extents; i++) {
		const struct page_extent *extent = &map->extents[chunk->first_extent + i];
		uint64_t bytes = (uint64_t)extent->n_pages * PAGE_BYTES;
		uint64_t part = i + 1 == chunk->n_extents
					? left
					: chunk->stored_bytes * bytes / chunk->bytes;
		struct pages_row *row =
			map->spaces[chunk->space].kind == PAGE_SPACE_SHARED
				? shared
				: find_private(report->rows, n_private,
					       map->spaces[chunk->space].pid, extent->address);

		left -= part;
		if (row)
			row->data_bytes += part;
	}
}

static int count_chunks(struct pages_report *report)
{
	const struct page_map *map = &report->map;
	snap_cleanup_free bool *is_first = calloc(map->n_chunks + 1, sizeof(*is_first));
	size_t n_private = 0, at;

	if (!is_first || find_first_uses(map, is_first) < 0)
		return -ENOMEM;
	while (n_private < map->n_regions && !report->rows[n_private].region->shared)
		n_private++;
	at = n_private;
	for (size_t s = 0; s < map->n_spaces; s++) {
		const struct page_space *space = &map->spaces[s];
		struct pages_row *shared =
			space->kind == PAGE_SPACE_SHARED
				? find_shared(report->rows, map->n_regions, &at, space)
				: NULL;

		for (size_t i = space->first_chunk; i < space->first_chunk + space->n_chunks; i++) {
			const struct page_chunk *chunk = &map->chunks[i];

			report->memory_bytes += chunk->bytes;
			report->read_bytes += chunk->stored_bytes;
			report->codecs[chunk->codec]++;
			if (!is_first[i])
				continue;
			report->total.data_bytes += chunk->stored_bytes;
			share_out(report, chunk, shared, n_private);
		}
	}
	return 0;
}

int pages_report_make(struct page_map *map, struct pages_report *ret)
{
	*ret = (struct pages_report){.map = *map};
	*map = (struct page_map){.n_chunks = 0};
	ret->total.region = &ret->sums;
	ret->rows = calloc(ret->map.n_regions + 1, sizeof(*ret->rows));
	if (!ret->rows)
		return -ENOMEM;
	for (size_t i = 0; i < ret->map.n_regions; i++) {
		const struct page_region *region = &ret->map.regions[i];

		ret->rows[i].region = region;
		ret->sums.stored_bytes += region->stored_bytes;
		ret->sums.zero_bytes += region->zero_bytes;
		ret->sums.shared_bytes += region->shared_bytes;
		ret->sums.kept_bytes += region->kept_bytes;
		ret->sums.kept |= region->kept;
	}
	qsort(ret->rows, ret->map.n_regions, sizeof(*ret->rows), compare_places);
	if (count_chunks(ret) < 0)
		return -ENOMEM;
	qsort(ret->rows, ret->map.n_regions, sizeof(*ret->rows), compare_rows);
	return 0;
}

int pages_report_take(int gen_fd, struct pages_report *ret, struct snap_error *err)
{
	struct page_map map;
	int r = page_map_load(gen_fd, PAGE_FILES_TREE, &map, err);

	*ret = (struct pages_report){.read_bytes = 0};
	if (r < 0)
		return r;
	r = pages_report_make(&map, ret);
	if (r < 0)
		pages_report_done(ret);
	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "cannot look at the pages") : 0;
}

void pages_report_done(struct pages_report *report)
{
	page_map_done(&report->map);
	free(report->rows);
	*report = (struct pages_report){.read_bytes = 0};
}

/* whatever bytes a path had, or the end of one */
static const char *name_of(const struct page_region *region, char buf[PAGE_REGION_NAME_MAX])
{
	(void)snprintf(buf, PAGE_REGION_NAME_MAX, "%s", region->name);
	for (char *p = buf; *p; p++) {
		if (*p < ' ' || *p > '~')
			*p = '?';
	}
	return buf;
}

static void print_numbers(const struct pages_row *row)
{
	const uint64_t numbers[] = {row->region->stored_bytes, row->data_bytes,
				    row->region->zero_bytes, row->region->shared_bytes,
				    row->region->kept_bytes};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		char size[OUTPUT_SIZE_MAX];

		(void)printf("%11s", numbers[i] ? output_size(numbers[i], size) : "-");
	}
}

static void print_row(const struct pages_row *row)
{
	const struct page_region *r = row->region;
	char name[PAGE_REGION_NAME_MAX], why[WORDS_MAX];

	print_numbers(row);
	(void)printf("  %7d %c%c%c%c %s", (int)r->pid, r->prot & PROT_READ ? 'r' : '-',
		     r->prot & PROT_WRITE ? 'w' : '-', r->prot & PROT_EXEC ? 'x' : '-',
		     r->shared ? 's' : 'p', name_of(r, name)[0] ? name : "anonymous");
	if (!r->shared)
		(void)printf(" 0x%" PRIx64, r->start);
	if (r->kept)
		(void)printf(" (%s)", pages_kept_words(r->kept, why, sizeof(why)));
	(void)printf("\n");
}

void pages_report_print(const struct pages_report *report, bool all)
{
	size_t n = report->map.n_regions,
	       shown = all || n < PAGES_REPORT_TOP ? n : PAGES_REPORT_TOP;
	char memory[OUTPUT_SIZE_MAX], data[OUTPUT_SIZE_MAX];

	(void)printf("pages        %s of memory in %s of " PAGES_DATA_NAME "; chunks: %zu",
		     output_size(report->memory_bytes, memory),
		     output_size(report->total.data_bytes, data), report->map.n_chunks);
	for (size_t i = 0; i < PAGE_CODEC_MAX_; i++) {
		if (report->codecs[i])
			(void)printf(", %s %zu", codec_name((enum page_codec)i), report->codecs[i]);
	}
	(void)printf("\n%11s%11s%11s%11s%11s  %7s mapping\n", "stored", "in file", "zero", "shared",
		     "CRIU", "pid");
	for (size_t i = 0; i < shown; i++)
		print_row(&report->rows[i]);
	if (shown < n)
		(void)printf("%57s  %zu more, --all shows them\n", "", n - shown);
	print_numbers(&report->total);
	(void)printf("  in total\n");
}

static json_t *kept_json(uint32_t kept)
{
	json_t *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(kept_names); i++) {
		if (kept >> i & 1)
			(void)json_array_append_new(list, json_string(kept_names[i]));
	}
	return list;
}

static json_t *row_json(const struct pages_row *row)
{
	const struct page_region *r = row->region;
	char name[PAGE_REGION_NAME_MAX];

	return json_pack("{s:i, s:I, s:I, s:I, s:b, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "pid",
			 (int)r->pid, "start", (json_int_t)r->start, "end", (json_int_t)r->end,
			 "prot", (json_int_t)r->prot, "shared", (int)r->shared, "name",
			 name_of(r, name), "stored_bytes", (json_int_t)r->stored_bytes,
			 "data_bytes", (json_int_t)row->data_bytes, "zero_bytes",
			 (json_int_t)r->zero_bytes, "shared_bytes", (json_int_t)r->shared_bytes,
			 "kept_bytes", (json_int_t)r->kept_bytes, "kept", kept_json(r->kept));
}

json_t *pages_report_json(const struct pages_report *report)
{
	const struct page_region *sums = &report->sums;
	json_t *rows = json_array(), *codecs = json_object();

	for (size_t i = 0; i < report->map.n_regions; i++)
		(void)json_array_append_new(rows, row_json(&report->rows[i]));
	for (size_t i = 0; i < PAGE_CODEC_MAX_; i++)
		(void)json_object_set_new(codecs, codec_name((enum page_codec)i),
					  json_integer((json_int_t)report->codecs[i]));
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "memory_bytes",
			 (json_int_t)report->memory_bytes, "stored_bytes",
			 (json_int_t)sums->stored_bytes, "data_bytes",
			 (json_int_t)report->total.data_bytes, "file_bytes",
			 (json_int_t)report->map.data_bytes, "zero_bytes",
			 (json_int_t)sums->zero_bytes, "shared_bytes",
			 (json_int_t)sums->shared_bytes, "kept_bytes", (json_int_t)sums->kept_bytes,
			 "kept", kept_json(sums->kept), "chunks", codecs, "mappings", rows);
}

int wake_rate_parse(const char *text, double *ret, struct snap_error *err)
{
	char *end;
	double rate;

	errno = 0;
	rate = strtod(text, &end);
	/* strtod also takes blanks, signs, hex, "inf" and "nan" */
	if (strspn(text, "0123456789.") != strlen(text) || end == text || *end || errno ||
	    !(rate > 0) || rate > RATE_MAX)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "--rate '%s' is no number of GB a second (2.5)", text);
	*ret = rate * 1e9;
	return 0;
}

struct wake_forecast wake_forecast(const struct manifest *m, const struct pages_report *report,
				   double rate)
{
	struct wake_forecast forecast = {.fixed_ms = WAKE_FIXED_MS};
	uint64_t with_criu = 0, to_read = report ? report->read_bytes : 0;

	for (size_t i = 0; i < m->n_images; i++) {
		if (strncmp(m->images[i].name, "criu/pages-", strlen("criu/pages-")) == 0)
			with_criu += m->images[i].size;
	}
	forecast.criu_ms = (uint64_t)((double)with_criu / (1U << 20) * WAKE_CRIU_US_PER_MIB / 1e3);
	forecast.stream_ms = (uint64_t)ceil((double)to_read / rate * 1e3);
	return forecast;
}
