/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/create.h"
#include "cli/layout.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/fd.h"
#include "common/init_options.h"

struct create_options {
	struct verb_common common;
	const char *rights;
	const char *user;
	const char *output;
	const char *engine;
	const char *ready;
	const char *ready_timeout;
	const char *warmup;
	const char *oracle;
	const char *release;
	const char *reclaim;
	const char *criu;
	const char *snapinit;
	struct option_list includes;
	struct page_options pages;
	uint64_t timeout_ms;
	bool no_verify;
	int verbose;
};

#define AT(member)     offsetof(struct create_options, member)
#define PAGE_ENV(name) "SNAPINIT_" name
#define PAGE_KEY(name) name

const struct option_def verb_create_options[] = {
	{"output", 'o', OPTION_STRING, AT(output), "SNAPCTL_OUTPUT", "DIR",
	 "store to put the snapshot into; made if absent", .value = OPTION_VALUE_DIR},
	{"for", 0, OPTION_CHOICE, AT(rights), "SNAPCTL_FOR", NULL,
	 "rights of the container to come", .initial = "docker", .words = RIGHTS_WORDS},
	{"user", 0, OPTION_STRING, AT(user), "SNAPCTL_USER", "USER[:GROUP]",
	 "run the engine as that user, not as who you are", .value = OPTION_VALUE_USER},
	{"engine", 0, OPTION_STRING, AT(engine), "SNAPINIT_ENGINE", "NAME",
	 "what is known about the engine", .key = "engine", .initial = "auto",
	 .words = INIT_OPTIONS_ENGINES},
	{"ready", 0, OPTION_STRING, AT(ready), "SNAPINIT_READY", "SPEC", "when the engine is ready",
	 .key = "ready", .words = INIT_OPTIONS_READY},
	{"ready-timeout", 0, OPTION_DURATION_TEXT, AT(ready_timeout), "SNAPINIT_READY_TIMEOUT",
	 "DUR", "the engine may boot for DUR", .key = "ready-timeout", .initial = "10m"},
	{"warmup", 0, OPTION_UINT_TEXT, AT(warmup), "SNAPINIT_WARMUP", "N",
	 "requests before the capture", .key = "warmup"},
	{"oracle", 0, OPTION_STRING, AT(oracle), "SNAPINIT_ORACLE", "REQUEST",
	 "request whose answer must survive", .key = "oracle", .words = INIT_OPTIONS_ORACLE},
	{"release", 0, OPTION_STRING, AT(release), "SNAPINIT_RELEASE", "REQUEST",
	 "before a capture: gives memory back that a snapshot need not hold", .key = "release",
	 .words = INIT_OPTIONS_RELEASE},
	{"reclaim", 0, OPTION_STRING, AT(reclaim), "SNAPINIT_RECLAIM", "REQUEST",
	 "after a wake or a capture: takes it again", .key = "reclaim",
	 .words = INIT_OPTIONS_RELEASE},
	{"include", 0, OPTION_LIST, AT(includes), NULL, "PATH",
	 "file to put into the snapshot (repeatable)", .value = OPTION_VALUE_FILE},
	PAGE_OPTIONS_OF_CAPTURE(struct create_options, pages, PAGE_ENV, PAGE_KEY),
	{"no-verify", 0, OPTION_FLAG, AT(no_verify), NULL, NULL,
	 .help = "publish without a trial wake"},
	{"timeout", 0, OPTION_DURATION, AT(timeout_ms), NULL, "DUR", .help = "give up after DUR"},
	VERB_CRIU_OPTION(struct create_options),
	VERB_SNAPINIT_OPTION(struct create_options),
	{"verbose", 'v', OPTION_COUNT, AT(verbose), NULL, NULL, .help = "debug records too"},
	VERB_COMMON_OPTIONS(struct create_options),
};

static int fill_place(const struct create_options *options, struct credentials *user,
		      struct create_place *ret, struct snap_error *err)
{
	char dir[PATH_MAX];
	int r = rights_parse(options->rights, "--for", &ret->rights, err);

	if (r == 0 && options->user) {
		r = credentials_parse(options->user, user, err);
		ret->user = user;
	}
	if (r == 0)
		r = layout_self_dir(dir, err);
	if (r == 0)
		r = layout_find_snapinit(dir, options->snapinit, ret->snapinit, err);
	ret->criu = options->criu;
	ret->out_fd = STDERR_FILENO;
	ret->records = !options->common.quiet;
	ret->log_level = options->verbose > 0 ? "debug" : "info";
	return r;
}

/* a right that the container to come will have and we have not: the gate will tell a difference */
static int check_rights(enum rights_set set, struct snap_error *err)
{
	char names[RIGHTS_TEXT_MAX];
	uint64_t held, missing;
	int r = rights_held(&held, err);

	if (r < 0)
		return r;
	/* the container gets a user namespace, where we hold everything: cli/container.c */
	if (!((held >> CAP_SYS_ADMIN) & 1))
		return 0;
	missing = rights_missing(set, held);
	if (missing == 0)
		return 0;
	rights_format(missing, names, sizeof(names));
	output_warning("--for %s: we do not hold %s, so the engine will not either",
		       rights_name(set), names);
	return 0;
}

static int print_result(const struct create_options *options, const struct create_result *result,
			struct snap_error *err)
{
	char size[OUTPUT_SIZE_MAX];
	json_t *wake;

	if (!options->common.json) {
		(void)printf("%s %s %s %s\n", options->output, result->generation,
			     output_size(result->bytes, size),
			     result->verified ? "verified" : "unverified");
		return 0;
	}
	wake = result->wake_ms > 0 ? json_integer((json_int_t)result->wake_ms) : json_null();
	return output_json(json_pack("{s:s, s:s, s:s, s:I, s:b, s:I, s:I, s:I, s:o}", "schema",
				     "snapctl.create/v1", "store", options->output, "generation",
				     result->generation, "bytes", (json_int_t)result->bytes,
				     "verified", result->verified, "cold_boot_ms",
				     (json_int_t)result->cold_boot_ms, "capture_ms",
				     (json_int_t)result->capture_ms, "frozen_ms",
				     (json_int_t)result->frozen_ms, "wake_ms", wake),
			   err);
}

static int create(const struct create_options *options, char *const *command, int *ret_status,
		  struct snap_error *err)
{
	struct credentials user;
	struct create_spec spec = {
		.engine = {options->engine, options->ready, options->ready_timeout, options->warmup,
			   options->oracle, options->release, options->reclaim, &options->includes,
			   &options->pages, command},
		.store = options->output,
		.verify = !options->no_verify,
		.timeout_ms = options->timeout_ms,
	};
	struct create_result result;
	struct attend attend;
	int r = fill_place(options, &user, &spec.place, err);

	if (r == 0)
		r = check_rights(spec.place.rights, err);
	if (r == 0)
		r = attend_begin(&attend, err);
	if (r < 0)
		return r;
	r = create_run(&spec, &attend, &result, err);
	if (r == -EINTR)
		*ret_status = 128 + attend.ended_by;
	attend_end(&attend);
	return r == 0 ? print_result(options, &result, err) : r;
}

int verb_create(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct create_options options = {.rights = NULL};
	int status = 0, r;
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	if (!options.output || !options.output[0])
		return snap_fail_plain(err, SNAP_E_USAGE, 0, "--output DIR is missing"),
		       VERB_FAILED;
	r = create(&options, argv + next, &status, err);
	if (r < 0 && status != 0) {
		(void)output_failure(verb->name, err);
		return status;
	}
	return r < 0 ? VERB_FAILED : 0;
}
