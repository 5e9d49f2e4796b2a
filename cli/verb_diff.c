/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/image_groups.h"
#include "cli/opened.h"
#include "cli/output.h"
#include "cli/pages_report.h"
#include "cli/verbs.h"
#include "common/cleanup.h"
#include "common/text.h"
#include "snapshot/difference.h"
#include "snapshot/identity.h"
#include "snapshot/pages/overlap.h"

/* as diff(1) has it; 1 is an internal error elsewhere, so that is another number here */
#define STATUS_DIFFERENT 1
#define STATUS_INTERNAL	 125

struct diff_options {
	struct verb_common common;
	const char *generation;
};

#define AT(member) offsetof(struct diff_options, member)

const struct option_def verb_diff_options[] = {
	{"generation", 0, OPTION_STRING, AT(generation), NULL, "NAME",
	 .help = "this generation of A (the current one)"},
	VERB_COMMON_OPTIONS(struct diff_options),
};

struct side {
	char store[4096];
	struct opened opened;
	struct pages_report pages;
	struct page_map devices; /* device.map */
	struct image_groups groups;
};

struct comparison {
	struct side a, b;
	struct differences found;
	struct overlap overlap;
	size_t same_images;
	uint64_t same_image_bytes;
};

struct row {
	const char *name;
	const char *words;
	uint64_t a, b;
};

#define SIZES_MAX 11
#define TIMES_MAX 3

static size_t list_sizes(const struct comparison *c, struct row ret[SIZES_MAX])
{
	const struct manifest *a = &c->a.opened.manifest, *b = &c->b.opened.manifest;
	const struct page_region *sums_a = &c->a.pages.sums, *sums_b = &c->b.pages.sums;
	const struct row rows[SIZES_MAX] = {
		{"snapshot_bytes", "snapshot", a->snapshot_bytes, b->snapshot_bytes},
		{"resident_bytes", "memory resident", a->resident_bytes, b->resident_bytes},
		{"stored_bytes", "memory stored in page files", sums_a->stored_bytes,
		 sums_b->stored_bytes},
		{"data_bytes", "page files on disk", c->a.pages.total.data_bytes,
		 c->b.pages.total.data_bytes},
		{"zero_bytes", "memory that is zero", sums_a->zero_bytes, sums_b->zero_bytes},
		{"shared_bytes", "memory counted elsewhere", sums_a->shared_bytes,
		 sums_b->shared_bytes},
		{"kept_bytes", "memory left with CRIU", sums_a->kept_bytes, sums_b->kept_bytes},
		{"criu_pages_bytes", "CRIU's page images", c->a.groups.left_with_criu,
		 c->b.groups.left_with_criu},
		{"device_data_bytes", "device memory on disk", c->a.devices.data_bytes,
		 c->b.devices.data_bytes},
		{"state_bytes", "state", c->a.groups.state, c->b.groups.state},
		{"files_bytes", "files carried", c->a.groups.files, c->b.groups.files},
	};

	memcpy(ret, rows, sizeof(rows));
	return SIZES_MAX;
}

static size_t list_times(const struct comparison *c, struct row ret[TIMES_MAX])
{
	const struct manifest *a = &c->a.opened.manifest, *b = &c->b.opened.manifest;
	const struct row rows[TIMES_MAX] = {
		{"cold_boot_ms", "cold boot", a->cold_boot_ms, b->cold_boot_ms},
		{"capture_ms", "capture", a->capture_ms, b->capture_ms},
		{"frozen_ms", "stood still", a->frozen_ms, b->frozen_ms},
	};

	memcpy(ret, rows, sizeof(rows));
	return TIMES_MAX;
}

static void print_difference(const struct difference *item)
{
	const char *texts[] = {item->a, item->b};

	(void)printf("%s\n", item->name);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		char word[512];

		if (!texts[i])
			continue;
		/* paths and arguments hold whatever bytes */
		(void)snprintf(word, sizeof(word), "%s", texts[i]);
		text_make_printable(word);
		(void)printf("  %c %s\n", i == 0 ? '<' : '>', word);
	}
}

static void print_table(const struct comparison *c)
{
	struct row sizes[SIZES_MAX], times[TIMES_MAX];
	size_t n_sizes = list_sizes(c, sizes), n_times = list_times(c, times);
	char a[OUTPUT_SIZE_MAX], b[OUTPUT_SIZE_MAX];

	(void)printf("\n%-28s %12s %12s\n", "", "<", ">");
	for (size_t i = 0; i < n_sizes; i++)
		(void)printf("%-28s %12s %12s\n", sizes[i].words, output_size(sizes[i].a, a),
			     output_size(sizes[i].b, b));
	for (size_t i = 0; i < n_times; i++)
		(void)printf("%-28s %12s %12s\n", times[i].words, output_duration(times[i].a, a),
			     output_duration(times[i].b, b));
}

static void print_text(const struct comparison *c)
{
	const struct pages_report *a = &c->a.pages, *b = &c->b.pages;
	char size[OUTPUT_SIZE_MAX], of_a[OUTPUT_SIZE_MAX], of_b[OUTPUT_SIZE_MAX];

	(void)printf("< %s %s\n> %s %s\n", c->a.store, c->a.opened.generation, c->b.store,
		     c->b.opened.generation);
	(void)printf("\nmatters for a wake: %zu\n", c->found.n_matter);
	for (size_t i = 0; i < c->found.n; i++) {
		if (i == c->found.n_matter)
			(void)printf("\ndoes not matter: %zu\n", c->found.n - i);
		print_difference(&c->found.items[i]);
	}
	if (c->found.unknown_env.n > 0) {
		(void)printf("\nvariables that cannot be compared here:");
		for (size_t i = 0; i < c->found.unknown_env.n; i++)
			(void)printf(" %.200s", c->found.unknown_env.items[i]);
		(void)printf("\n");
	}
	print_table(c);
	(void)printf(
		"\nidentical    %zu page chunks (of %zu and %zu), %s of memory (of %s and %s)\n",
		c->overlap.chunks, a->map.n_chunks, b->map.n_chunks,
		output_size(c->overlap.bytes, size), output_size(a->memory_bytes, of_a),
		output_size(b->memory_bytes, of_b));
	(void)printf("             %zu images (of %zu and %zu), %s\n", c->same_images,
		     c->a.opened.manifest.n_images, c->b.opened.manifest.n_images,
		     output_size(c->same_image_bytes, size));
}

static json_t *side_json(const struct side *side)
{
	return json_pack("{s:s, s:s, s:b}", "store", side->store, "generation",
			 side->opened.generation, "current", side->opened.is_current);
}

static json_t *rows_json(const struct row *rows, size_t n)
{
	json_t *object = json_object();

	for (size_t i = 0; i < n; i++)
		(void)json_object_set_new(
			object, rows[i].name,
			json_pack("[I, I]", (json_int_t)rows[i].a, (json_int_t)rows[i].b));
	return object;
}

static json_t *differences_json(const struct differences *found)
{
	json_t *list = json_array();

	for (size_t i = 0; i < found->n; i++) {
		const struct difference *item = &found->items[i];

		(void)json_array_append_new(list, json_pack("{s:s, s:b, s:s?, s:s?}", "name",
							    item->name, "matters", item->matters,
							    "a", item->a, "b", item->b));
	}
	return list;
}

static int print_json(const struct comparison *c, struct snap_error *err)
{
	struct row sizes[SIZES_MAX], times[TIMES_MAX];
	size_t n_sizes = list_sizes(c, sizes), n_times = list_times(c, times);
	json_t *unknown = json_array(), *same, *result;

	for (size_t i = 0; i < c->found.unknown_env.n; i++)
		(void)json_array_append_new(unknown, json_string(c->found.unknown_env.items[i]));
	same = json_pack("{s:I, s:[I, I], s:I, s:[I, I], s:I, s:[I, I], s:I}", "chunks",
			 (json_int_t)c->overlap.chunks, "chunks_of",
			 (json_int_t)c->a.pages.map.n_chunks, (json_int_t)c->b.pages.map.n_chunks,
			 "memory_bytes", (json_int_t)c->overlap.bytes, "memory_bytes_of",
			 (json_int_t)c->a.pages.memory_bytes, (json_int_t)c->b.pages.memory_bytes,
			 "images", (json_int_t)c->same_images, "images_of",
			 (json_int_t)c->a.opened.manifest.n_images,
			 (json_int_t)c->b.opened.manifest.n_images, "image_bytes",
			 (json_int_t)c->same_image_bytes);
	result = json_pack("{s:s, s:o, s:o, s:b, s:I, s:o, s:o, s:o, s:o, s:o}", "schema",
			   "snapctl.diff/v1", "a", side_json(&c->a), "b", side_json(&c->b), "same",
			   c->found.n_matter == 0, "matter", (json_int_t)c->found.n_matter,
			   "differences", differences_json(&c->found), "unknown_env", unknown,
			   "sizes", rows_json(sizes, n_sizes), "times", rows_json(times, n_times),
			   "identical", same);
	return output_json(result, err);
}

/* STORE, or STORE/gen-N as a shell completes it */
static int open_side(const char *word, const char *generation, struct side *side,
		     struct snap_error *err)
{
	const char *slash = strrchr(word, '/');
	const char *last = slash ? slash + 1 : word;
	int r;

	*side = (struct side){.opened = {.gen_fd = -1}};
	if (generation || !store_name_is_valid(last))
		(void)snprintf(side->store, sizeof(side->store), "%s", word);
	else
		(void)snprintf(side->store, sizeof(side->store), "%.*s",
			       slash ? (int)(slash > word ? slash - word : 1) : 1,
			       slash ? word : ".");
	r = opened_init(&side->opened, side->store,
			generation		    ? generation
			: store_name_is_valid(last) ? last
						    : NULL,
			err);
	if (r == 0)
		r = opened_load_manifest(&side->opened, err);
	if (r == 0 && side->opened.manifest.pages_bytes > 0)
		r = pages_report_take(side->opened.gen_fd, &side->pages, err);
	if (r == 0 && manifest_has_device_files(&side->opened.manifest.gpu))
		r = page_map_load(side->opened.gen_fd, PAGE_FILES_DEVICES, &side->devices, err);
	if (r < 0)
		return r;
	side->groups = image_groups_of(&side->opened.manifest);
	return 0;
}

static void close_side(struct side *side)
{
	pages_report_done(&side->pages);
	page_map_done(&side->devices);
	opened_done(&side->opened);
}

/* both lists are sorted by a capture; a foreign order only counts too little */
static void count_same_images(struct comparison *c)
{
	const struct manifest *a = &c->a.opened.manifest, *b = &c->b.opened.manifest;
	size_t i = 0, j = 0;

	while (i < a->n_images && j < b->n_images) {
		int order = strcmp(a->images[i].name, b->images[j].name);

		if (order == 0 && a->images[i].size == b->images[j].size &&
		    strcmp(a->images[i].digest, b->images[j].digest) == 0) {
			c->same_images++;
			c->same_image_bytes += a->images[i].size;
		}
		i += order <= 0;
		j += order >= 0;
	}
}

/* what a start from this shell would bring, to tell equal variables under two salts */
static int take_here(const struct side *side, struct manifest_identity *ret, struct snap_error *err)
{
	char *const no_command[] = {NULL};

	return identity_take(no_command, environ, "none", side->opened.manifest.identity.env_salt,
			     ret, err);
}

static int compare(struct comparison *c, struct snap_error *err)
{
	struct manifest_identity here_a = {.uid = 0}, here_b = {.uid = 0};
	bool has_here =
		take_here(&c->a, &here_a, NULL) == 0 && take_here(&c->b, &here_b, NULL) == 0;
	int r = differences_find(&c->a.opened.manifest, &c->b.opened.manifest,
				 has_here ? &here_a : NULL, has_here ? &here_b : NULL, &c->found,
				 err);

	identity_done(&here_a);
	identity_done(&here_b);
	if (r == 0 && overlap_find(&c->a.pages.map, &c->b.pages.map, &c->overlap) < 0)
		r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot compare");
	if (r == 0)
		count_same_images(c);
	return r;
}

static int diff(struct comparison *c, const struct diff_options *options, const char *a,
		const char *b, struct snap_error *err)
{
	int r = open_side(a, options->generation, &c->a, err);

	if (r == 0)
		r = open_side(b ? b : c->a.store, NULL, &c->b, err);
	if (r == 0)
		r = compare(c, err);
	if (r == 0 && options->common.json)
		r = print_json(c, err);
	else if (r == 0)
		print_text(c);
	return r;
}

int verb_diff(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct diff_options options = {.generation = NULL};
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	struct comparison *c;
	bool same;
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	c = calloc(1, sizeof(*c));
	if (!c)
		return STATUS_INTERNAL;
	c->a.opened.gen_fd = c->b.opened.gen_fd = c->a.opened.store.fd = c->b.opened.store.fd = -1;
	r = diff(c, &options, argv[next], argv[next + 1], err);
	same = c->found.n_matter == 0;
	differences_done(&c->found);
	close_side(&c->a);
	close_side(&c->b);
	free(c);
	if (r < 0 && err->code == SNAP_E_INTERNAL) {
		(void)output_failure(verb->name, err);
		return STATUS_INTERNAL;
	}
	if (r < 0)
		return VERB_FAILED;
	return same ? 0 : STATUS_DIFFERENT;
}
