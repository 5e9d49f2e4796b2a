/* SPDX-License-Identifier: Apache-2.0 */
/* snapctl run: what a container runtime would do, as far as snapinit can tell the difference. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/attend.h"
#include "cli/container.h"
#include "cli/layout.h"
#include "cli/output.h"
#include "cli/passthrough.h"
#include "cli/runtime_dir.h"
#include "cli/verbs.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/init_options.h"

#define STATUS_OWN_FAILURE 125 /* as inits and container runtimes have it */

struct run_options {
	const char *rights;
	const char *user;
	const char *name;
	const char *snapshot;
	const char *snapinit;
	bool no_wake;
	bool help;
};

#define AT(member) offsetof(struct run_options, member)

const struct option_def verb_run_options[] = {
	{"for", 0, OPTION_CHOICE, AT(rights), NULL, NULL, "rights of the container",
	 .initial = "full", .words = RIGHTS_WORDS},
	{"user", 0, OPTION_STRING, AT(user), NULL, "USER[:GROUP]",
	 "run as that user, not as who you are", .value = OPTION_VALUE_USER},
	{"name", 0, OPTION_STRING, AT(name), NULL, "NAME",
	 .help = "what snapctl ps, state and capture call it; else after the command"},
	{"snapshot", 0, OPTION_STRING, AT(snapshot), "SNAPINIT_SNAPSHOT", "DIR",
	 "wake from the snapshot in DIR if it is usable", .value = OPTION_VALUE_DIR},
	{"no-wake", 0, OPTION_FLAG, AT(no_wake), NULL, NULL,
	 .help = "boot cold whatever --snapshot says"},
	VERB_SNAPINIT_OPTION(struct run_options),
	VERB_HELP_OPTION(struct run_options, help),
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
			char *snapinit, const char *socket)
{
	/* against what the environment and the configuration file say */
	static const char *const no_wake[] = {"--snapshot", "",		  "--capture",
					      "never",	    "--fallback", "cold"};
	static char option[] = "--snapshot", control[] = "--control", end[] = "--";
	size_t n = 0, n_command = 0;
	char **argv;

	while (words->command[n_command])
		n_command++;
	argv = calloc((size_t)words->n_rest + n_command + ARRAY_LEN(no_wake) + 7, sizeof(*argv));
	if (!argv)
		return NULL;
	argv[n++] = snapinit;
	for (size_t i = 0; options->no_wake && i < ARRAY_LEN(no_wake); i++)
		argv[n++] = (char *)(uintptr_t)no_wake[i];
	for (int i = 0; i < words->n_rest; i++)
		argv[n++] = words->rest[i];
	if (options->snapshot && !options->no_wake) {
		argv[n++] = option;
		argv[n++] = (char *)(uintptr_t)options->snapshot;
	}
	if (socket) {
		argv[n++] = control;
		argv[n++] = (char *)(uintptr_t)socket;
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

/* does the user say where the socket is to be: on the line, in the environment, in the file? */
static bool chooses_socket(char **argv)
{
	struct init_options options;
	int argc = 0;

	while (argv[argc])
		argc++;
	/* what is wrong with the line, snapinit will say */
	return init_options_parse_noted(&options, argc, argv, NULL, NULL, NULL) < 0 ||
	       options.help || options.version || options.license || options.control;
}

static int check_name(const struct run_options *options, const struct passthrough *words,
		      struct snap_error *err)
{
	for (int i = 0; options->name && i < words->n_rest; i++) {
		if (strcmp(words->rest[i], "--control") == 0 ||
		    strncmp(words->rest[i], "--control=", strlen("--control=")) == 0)
			return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
					       "--name and --control both say where the control "
					       "socket is: give one");
	}
	return 0;
}

/* the socket for --control, or NULL where snapinit is to go by itself */
static int claim_socket(const struct run_options *options, const struct container_spec *spec,
			const char *command, struct runtime_dir *dir, const char **ret,
			struct snap_error *err)
{
	struct snap_error why;
	int r;

	*ret = NULL;
	if (!options->name && chooses_socket((char **)(uintptr_t)spec->argv))
		return 0;
	r = runtime_dir_claim(options->name, command, spec->user, dir, &why);
	if (r == 0) {
		*ret = dir->socket;
		return 0;
	}
	if (options->name) {
		*err = why;
		return r;
	}
	/* the usual place would be the host's, for the first of us only */
	*ret = "none";
	output_warning("no control socket, so snapctl state and capture cannot ask it: %s",
		       why.msg);
	return 0;
}

static int run_named(const struct run_options *options, const struct passthrough *words,
		     char *snapinit, struct container_spec *spec, int *ret_status,
		     struct snap_error *err)
{
	struct runtime_dir dir = RUNTIME_DIR_NONE;
	snap_cleanup_free char **plain = make_argv(options, words, snapinit, NULL);
	snap_cleanup_free char **argv = NULL;
	const char *socket = NULL;
	int r;

	if (!plain)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot make a command line");
	spec->argv = plain;
	r = claim_socket(options, spec, words->command[0], &dir, &socket, err);
	if (r < 0)
		return r;
	argv = make_argv(options, words, snapinit, socket);
	spec->argv = argv;
	r = argv ? run_container(spec, ret_status, err)
		 : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot make a command line");
	runtime_dir_release(&dir);
	return r;
}

static int run(const struct run_options *options, const struct passthrough *words, int *ret_status,
	       struct snap_error *err)
{
	struct container_spec spec = {.stdio = {FD_NONE, FD_NONE, FD_NONE}};
	struct credentials user;
	char snapinit[PATH_MAX];
	int r = rights_parse(options->rights, "--for", &spec.rights, err);

	if (r == 0)
		r = check_name(options, words, err);
	if (r == 0 && options->user) {
		spec.user = &user;
		r = credentials_parse(options->user, &user, err);
	}
	if (r == 0)
		r = find_snapinit(options, snapinit, err);
	return r < 0 ? r : run_named(options, words, snapinit, &spec, ret_status, err);
}

int verb_run(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	struct run_options options = {.rights = NULL};
	struct passthrough words = {.n_own = 0};
	int next, status = STATUS_OWN_FAILURE;
	int r = passthrough_split(verb->options, argc, argv, &words, err);

	if (r == 0)
		r = options_parse(verb->options, &options, words.n_own, words.own, &next, err);
	if (r == 0 && options.help)
		verb_print_help(verb);
	else if (r == 0 && !words.command[0])
		r = snap_fail_plain(err, SNAP_E_USAGE, EINVAL, "no command given");
	else if (r == 0)
		r = run(&options, &words, &status, err);
	passthrough_done(&words);
	if (r < 0)
		(void)output_failure(verb->name, err);
	return r == 0 && options.help ? 0 : status;
}
