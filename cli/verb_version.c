/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/host.h"
#include "cli/layout.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/process.h"

#define ANSWER_MAX	1024
#define SNAPINIT_END_MS 5000
#define FEATURES_MAX	512

struct version_options {
	struct verb_common common;
	const char *criu;
	const char *snapinit;
};

#define AT(member) offsetof(struct version_options, member)

const struct option_def verb_version_options[] = {
	VERB_CRIU_OPTION(struct version_options),
	VERB_SNAPINIT_OPTION(struct version_options),
	VERB_COMMON_OPTIONS(struct version_options),
};

/* the verbs that there are, and what there is none of yet */
static const char *features(char buf[FEATURES_MAX])
{
	size_t used = 0;

	for (const struct verb *verb = verbs_table; verb->name && used < FEATURES_MAX; verb++) {
		if (verb->help)
			used += (size_t)snprintf(buf + used, FEATURES_MAX - used, "+%s ",
						 verb->name);
	}
	if (used < FEATURES_MAX)
		(void)snprintf(buf + used, FEATURES_MAX - used, "+gpu");
	return buf;
}

/* what `snapinit --version` says: "snapinit 0.1.0\n+wake …" */
struct init_version {
	char path[PATH_MAX];
	char version[64]; /* empty: none found, or it did not answer */
	char features[256];
};

static void read_answer(const char *text, struct init_version *ret)
{
	const char *end = strchr(text, '\n');

	if (strncmp(text, "snapinit ", 9) != 0 || !end)
		return;
	(void)snprintf(ret->version, sizeof(ret->version), "%.*s", (int)(end - text - 9), text + 9);
	text = end + 1;
	(void)snprintf(ret->features, sizeof(ret->features), "%.*s", (int)strcspn(text, "\n"),
		       text);
}

static int run_snapinit(struct init_version *version, struct snap_error *err)
{
	char option[] = "--version";
	char *argv[] = {version->path, option, NULL};
	snap_cleanup_close int read_end = FD_NONE;
	char answer[ANSWER_MAX] = "";
	struct pidref process = PIDREF_NONE;
	int pipe_fds[2], status, r;
	struct process_fd fds[1];
	struct process_spec spec = {
		.path = version->path,
		.argv = argv,
		.fds = fds,
		.n_fds = 1,
		.close_fds = true,
		.death_signal = SIGKILL,
	};

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make a pipe");
	read_end = pipe_fds[0];
	fds[0] = (struct process_fd){.from = pipe_fds[1], .to = STDOUT_FILENO};
	r = process_spawn(&spec, &process, err);
	(void)fd_close(pipe_fds[1]);
	if (r != 0)
		return r < 0 ? r : -ENOEXEC;
	(void)io_read_full(read_end, answer, sizeof(answer) - 1);
	(void)process_wait(&process, deadline_after_ms(SNAPINIT_END_MS), &status);
	pidref_done(&process);
	read_answer(answer, version);
	return 0;
}

static void ask_snapinit(const char *chosen, struct init_version *ret)
{
	char dir[PATH_MAX];

	*ret = (struct init_version){.version = ""};
	if (layout_self_dir(dir, NULL) < 0 ||
	    layout_find_snapinit(dir, chosen, ret->path, NULL) < 0) {
		ret->path[0] = '\0';
		return;
	}
	(void)run_snapinit(ret, NULL);
}

static json_t *text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

static int print_json(const struct init_version *init, const struct host *host,
		      struct snap_error *err)
{
	char text[FEATURES_MAX];

	return output_json(json_pack("{s:s, s:s, s:s, s:{s:o, s:o, s:o}, s:{s:o, s:o, s:o}}",
				     "schema", "snapctl.version/v1", "snapctl", SNAP_VERSION,
				     "features", features(text), "snapinit", "version",
				     text_or_null(init->version), "path", text_or_null(init->path),
				     "features", text_or_null(init->features), "criu", "version",
				     text_or_null(host->criu_version), "path",
				     text_or_null(host->program.path), "build_id",
				     text_or_null(host->program.build_id)),
			   err);
}

static void print_text(const struct init_version *init, const struct host *host)
{
	char text[FEATURES_MAX];

	(void)printf("snapctl %s\n%s\n", SNAP_VERSION, features(text));
	if (init->version[0])
		(void)printf("snapinit %s (%s)\n%s\n", init->version, init->path, init->features);
	else
		(void)printf("snapinit: %s\n", init->path[0] ? "does not answer" : "not found");
	if (host->has_criu)
		(void)printf("criu %s (%s)\n", host->criu_version, host->program.path);
	else
		(void)printf("criu: %s\n", host->criu_err.msg);
}

int verb_version(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct version_options options = {.criu = NULL};
	struct init_version init;
	struct host host;
	int next = verb_parse(verb, &options, &options.common, argc, argv, err);
	int r;

	if (next < 0)
		return next == VERB_HELPED ? 0 : VERB_FAILED;
	ask_snapinit(options.snapinit, &init);
	r = host_take(options.criu, &host, err);
	if (r < 0)
		return VERB_FAILED;
	if (options.common.json)
		r = print_json(&init, &host, err);
	else
		print_text(&init, &host);
	host_done(&host);
	return r < 0 ? VERB_FAILED : 0;
}
