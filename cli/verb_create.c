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

static const struct option_def defs[] = {
	{"output", 'o', OPTION_STRING, AT(output), "SNAPCTL_OUTPUT", "DIR",
	 .help = "store to put the snapshot into; made if absent"},
	{"for", 0, OPTION_STRING, AT(rights), "SNAPCTL_FOR", "SET",
	 .help = "rights of the container to come: docker, k8s, full (docker)"},
	{"user", 0, OPTION_STRING, AT(user), "SNAPCTL_USER", "USER[:GROUP]",
	 .help = "run the engine as (who you are)"},
	{"engine", 0, OPTION_STRING, AT(engine), NULL, "NAME",
	 .help = "adapter: auto, llama-server, http, tcp, none (auto)"},
	{"ready", 0, OPTION_STRING, AT(ready), NULL, "SPEC",
	 .help = "http://H:P/PATH, tcp:H:P, exec:COMMAND, fd, notify, none"},
	{"ready-timeout", 0, OPTION_STRING, AT(ready_timeout), NULL, "DUR",
	 .help = "the engine may boot for DUR (10m)"},
	{"warmup", 0, OPTION_STRING, AT(warmup), NULL, "N", .help = "requests before the capture"},
	{"oracle", 0, OPTION_STRING, AT(oracle), NULL, "REQUEST",
	 .help = "must be answered alike: GET URL, POST URL BODY, none"},
	{"include", 0, OPTION_LIST, AT(includes), NULL, "PATH",
	 .help = "file to put into the snapshot (repeatable)"},
	PAGE_OPTIONS_OF_CAPTURE(struct create_options, pages, PAGE_ENV, PAGE_KEY),
	{"no-verify", 0, OPTION_FLAG, AT(no_verify), NULL, NULL,
	 .help = "publish without a trial wake"},
	{"timeout", 0, OPTION_DURATION, AT(timeout_ms), NULL, "DUR", .help = "give up after DUR"},
	{"criu", 0, OPTION_STRING, AT(criu), "SNAPCTL_CRIU", "PATH", .help = "CRIU program"},
	{"snapinit", 0, OPTION_STRING, AT(snapinit), "SNAPCTL_SNAPINIT", "PATH",
	 .help = "snapinit to use (the one beside snapctl)"},
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
			   options->oracle, &options->includes, &options->pages, command},
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
	struct create_options options = {.rights = "docker"};
	int status = 0, r;
	int next = verb_parse(verb, defs, &options, &options.common, argc, argv, err);

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
