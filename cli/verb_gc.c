/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/credentials.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "snapshot/gc.h"

struct gc_verb_options {
	struct verb_common common;
	uint64_t keep;
	bool dry_run;
};

#define AT(member) offsetof(struct gc_verb_options, member)

const struct option_def verb_gc_options[] = {
	{"keep", 0, OPTION_UINT, AT(keep), NULL, "N",
	 "keep the N newest generations beside the current one", .initial = "0"},
	{"dry-run", 'n', OPTION_FLAG, AT(dry_run), NULL, NULL,
	 .help = "tell what would be removed and remove nothing"},
	VERB_COMMON_OPTIONS(struct gc_verb_options),
};

static int print_json(const char *path, const struct gc_verb_options *options,
		      const struct gc_result *result, struct snap_error *err)
{
	json_t *items = json_array();

	for (size_t i = 0; i < result->n; i++) {
		const struct gc_item *item = &result->items[i];
		json_t *told = json_pack("{s:s, s:s, s:s, s:I}", "name", item->name, "kind",
					 gc_kind_name(item->kind), "fate", gc_fate_name(item->fate),
					 "bytes", (json_int_t)item->bytes);

		if (item->fate == GC_FAILED)
			(void)json_object_set_new(told, "message",
						  json_string(strerror(item->errnum)));
		(void)json_array_append_new(items, told);
	}
	return output_json(json_pack("{s:s, s:s, s:b, s:I, s:I, s:I, s:o}", "schema",
				     "snapctl.gc/v1", "store", path, "dry_run", options->dry_run,
				     "removed", (json_int_t)result->n_removed, "failed",
				     (json_int_t)result->n_failed, "freed_bytes",
				     (json_int_t)result->freed_bytes, "items", items),
			   err);
}

static const char *words_for(const struct gc_item *item, bool dry_run)
{
	switch (item->fate) {
	case GC_REMOVED:
		return dry_run ? "would be removed" : "removed";
	case GC_CURRENT:
		return "current";
	case GC_WANTED:
		return "kept";
	case GC_IN_USE:
		return "in use";
	case GC_FRESH:
		return item->kind == GC_UNFINISHED ? "left: younger than a minute"
						   : "left: newer than the current one, younger "
						     "than an hour";
	case GC_FAILED:
		break;
	}
	return strerror(item->errnum);
}

static void print_text(const char *path, const struct gc_verb_options *options,
		       const struct gc_result *result)
{
	char size[OUTPUT_SIZE_MAX];

	for (size_t i = 0; i < result->n; i++) {
		const struct gc_item *item = &result->items[i];

		(void)printf("%-11s %-10s %10s  %s\n", gc_kind_name(item->kind), item->name,
			     output_size(item->bytes, size), words_for(item, options->dry_run));
	}
	(void)printf("%s %s %s\n", path, output_size(result->freed_bytes, size),
		     options->dry_run ? "would be freed" : "freed");
}

/* some may have gone before the failure, but the store is as good as before */
static int run(struct store *store, const char *path, const struct gc_verb_options *options,
	       struct snap_error *err)
{
	const struct gc_options how = {.keep = options->keep, .dry_run = options->dry_run};
	struct gc_result result;
	int r = gc_run(store, &how, &result, err);

	if (r == 0 && options->common.json)
		r = print_json(path, options, &result, err);
	else if (r == 0)
		print_text(path, options, &result);
	if (r == 0 && result.n_failed > 0)
		r = snap_fail_plain(err, SNAP_E_PREFLIGHT, EACCES,
				    "%zu could not be removed, for the reasons above",
				    result.n_failed);
	gc_result_done(&result);
	return r;
}

int verb_gc(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct gc_verb_options options = {.keep = 0};
	struct store store;
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	/* a lease of ours in a store of the engine's user must be theirs */
	credentials_act_as_owner(argv[next]);
	r = store_open(&store, argv[next], false, err);
	if (r == 0)
		r = run(&store, argv[next], &options, err);
	store_close(&store);
	credentials_return();
	return r < 0 ? VERB_FAILED : 0;
}
