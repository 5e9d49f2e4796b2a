/* SPDX-License-Identifier: Apache-2.0 */
/* snapctl run: what a container runtime would do, as far as snapinit can tell the difference. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/attend.h"
#include "cli/container.h"
#include "cli/layout.h"
#include "cli/output.h"
#include "cli/passthrough.h"
#include "cli/verbs.h"
#include "common/clock.h"
#include "common/fd.h"

#define STATUS_OWN_FAILURE 125 /* as inits and container runtimes have it */

struct run_options {
	const char *rights;
	const char *user;
	const char *snapshot;
	const char *snapinit;
	bool no_wake;
	bool help;
};

#define AT(member) offsetof(struct run_options, member)

static const struct option_def defs[] = {
	{"for", 0, OPTION_STRING, AT(rights), NULL, "SET",
	 .help = "rights of the container: docker, k8s, full (full)"},
	{"user", 0, OPTION_STRING, AT(user), NULL, "USER[:GROUP]", .help = "run as (who you are)"},
	{"snapshot", 0, OPTION_STRING, AT(snapshot), "SNAPINIT_SNAPSHOT", "DIR",
	 .help = "wake from the snapshot in DIR if it is usable"},
	{"no-wake", 0, OPTION_FLAG, AT(no_wake), NULL, NULL,
	 .help = "boot cold whatever --snapshot says"},
	{"snapinit", 0, OPTION_STRING, AT(snapinit), "SNAPCTL_SNAPINIT", "PATH",
	 .help = "snapinit to use (the one beside snapctl)"},
	{"help", 'h', OPTION_FLAG, AT(help), NULL, NULL, .help = "show this text"},
	{.name = NULL},
};

static int find_snapinit(const struct run_options *options, char ret_path[PATH_MAX],
			 struct snap_error *err)
{
	char dir[PATH_MAX];
	int r = layout_self_dir(dir, err);

	return r < 0 ? r : layout_find_snapinit(dir, options->snapinit, ret_path, err);
}

/* snapinit, its options, "--", the command; the vector is the caller's to free */
static char **make_argv(const struct run_options *options, const struct passthrough *words,
			char *snapinit)
{
	static char option[] = "--snapshot", end[] = "--";
	size_t n = 0, n_command = 0;
	char **argv;

	while (words->command[n_command])
		n_command++;
	argv = calloc((size_t)words->n_rest + n_command + 5, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[n++] = snapinit;
	for (int i = 0; i < words->n_rest; i++)
		argv[n++] = words->rest[i];
	if (options->snapshot && !options->no_wake) {
		argv[n++] = option;
		argv[n++] = (char *)(uintptr_t)options->snapshot;
	}
	argv[n++] = end;
	for (size_t i = 0; i < n_command; i++)
		argv[n++] = words->command[i];
	return argv;
}

static int run_container(const struct container_spec *base, int *ret_status, struct snap_error *err)
{
	struct container_spec spec = *base;
	struct attend attend;
	struct pidref init = PIDREF_NONE;
	int r = attend_begin(&attend, err);

	if (r < 0)
		return r;
	spec.mask = &attend.old_mask;
	r = container_start(&spec, &init, err);
	if (r == 0)
		r = attend_wait(&attend, &init, NULL, DEADLINE_NEVER, ret_status);
	pidref_done(&init);
	attend_end(&attend);
	return r;
}

static int run(const struct run_options *options, const struct passthrough *words, int *ret_status,
	       struct snap_error *err)
{
	struct container_spec spec = {.stdio = {FD_NONE, FD_NONE, FD_NONE}};
	struct credentials user;
	char snapinit[PATH_MAX];
	snap_cleanup_free char **argv = NULL;
	int r = rights_parse(options->rights, "--for", &spec.rights, err);

	if (r == 0 && options->user) {
		spec.user = &user;
		r = credentials_parse(options->user, &user, err);
	}
	if (r == 0)
		r = find_snapinit(options, snapinit, err);
	if (r < 0)
		return r;
	if (options->no_wake)
		(void)unsetenv("SNAPINIT_SNAPSHOT");
	argv = make_argv(options, words, snapinit);
	if (!argv)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot make a command line");
	spec.argv = argv;
	return run_container(&spec, ret_status, err);
}

static void print_help(const struct verb *verb)
{
	(void)printf("Usage: snapctl %s %s\n%s.\n\n", verb->name, verb->usage, verb->help);
	options_print(defs, stdout);
	(void)fputs(
		"\nEvery other option is snapinit's, see snapinit --help. The exit status is the\n"
		"command's own, 128+N after signal N, and 125 when snapctl failed.\n",
		stdout);
}

int verb_run(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct run_options options = {.rights = "full"};
	struct passthrough words = {.n_own = 0};
	int next, status = STATUS_OWN_FAILURE;
	int r = passthrough_split(defs, argc, argv, &words, err);

	if (r == 0)
		r = options_parse(defs, &options, words.n_own, words.own, &next, err);
	if (r == 0 && options.help)
		print_help(verb);
	else if (r == 0 && !words.command[0])
		r = snap_fail_plain(err, SNAP_E_USAGE, EINVAL, "no command given");
	else if (r == 0)
		r = run(&options, &words, &status, err);
	passthrough_done(&words);
	if (r < 0)
		(void)output_failure(verb->name, err);
	return r == 0 && options.help ? 0 : status;
}
