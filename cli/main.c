/* SPDX-License-Identifier: Apache-2.0 */
/*
 * snapctl: makes, looks at and checks snapshots from outside. It drives the same snapinit and
 * snapworker that a container has, and has no way of its own to capture or wake.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/container.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "common/fd.h"

static int verb_help(const struct verb *verb, int argc, char **argv, struct snap_error *err);

/* clang-format off */
static const struct verb verbs[] = {
	{"create", "[options] --output DIR [--] command [argument...]", 1, -1, verb_create,
	 "boot an engine, snapshot it, check the snapshot and publish it"},
	{"run", "[options] [snapinit's options] -- command [argument...]", 1, -1, verb_run,
	 "run a command under snapinit in a container of its own"},
	{"inspect", "[options] DIR", 1, 1, verb_inspect,
	 "tell what a snapshot is and whether it would wake here"},
	{"verify", "[options] DIR", 1, 1, verb_verify,
	 "check a snapshot's files, and with --wake that it wakes"},
	{"export", "[options] --criu DIR STORE", 1, 1, verb_export,
	 "write a snapshot as images that criu restore takes"},
	{"ps", "[options]", 0, 0, verb_ps,
	 "list the snapinits that run here"},
	{"state", "[options]", 0, 0, verb_state,
	 "tell what a running snapinit does"},
	{"capture", "[options]", 0, 0, verb_capture,
	 "snapshot an engine that runs, now; it serves on"},
	{"log-level", "[options] [LEVEL]", 0, 1, verb_log_level,
	 "tell or change how much a running snapinit logs"},
	{"doctor", "[options]", 0, 0, verb_doctor,
	 "tell whether snapshots can be made and woken here, and what to change"},
	{"version", "[options]", 0, 0, verb_version,
	 "show the versions of all parts"},
	{"help", "[verb]", 0, 1, verb_help,
	 "show this text, or that of a verb"},
	{"__trial-engine", "PORT", 1, 1, verb_trial_engine, NULL},
};

/* clang-format on */

static const struct verb *find_verb(const char *name, struct snap_error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (strcmp(verbs[i].name, name) == 0)
			return &verbs[i];
	}
	(void)snap_fail_plain(err, SNAP_E_USAGE, 0, "unknown verb '%s', see snapctl help", name);
	return NULL;
}

static void print_help(FILE *out)
{
	(void)fputs("Usage: snapctl VERB [options] [argument...]\n"
		    "Makes, looks at and checks snapshots of inference engines.\n\nVerbs:\n",
		    out);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (verbs[i].help)
			(void)fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].help);
	}
	(void)fputs(
		"\nsnapctl VERB --help tells more. Results are on stdout (--json: as JSON),\n"
		"progress on stderr.\n\n"
		"Exit status: 0 done, 1 internal, 2 usage, 3 rights or programs missing,\n"
		"4 snapshot incompatible or absent, 5 damaged, 6 engine not ready, 7 the engine\n"
		"holds what cannot be dumped, 8 dump failed, 9 GPU, 10 wake failed, 11 over\n"
		"budget, 12 hook, 13 another answer than before, 130 and 143 interrupted.\n"
		"run: the command's own, 128+N after signal N, 125 when snapctl failed.\n",
		out);
}

static int verb_help(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	char option[] = "--help";
	char *again[] = {NULL, option, NULL};
	const struct verb *about;

	(void)verb;
	if (argc < 2 || argv[1][0] == '-') {
		print_help(stdout);
		return 0;
	}
	if (argc > 2)
		return snap_fail_plain(err, SNAP_E_USAGE, 0, "one verb at most"), VERB_FAILED;
	about = find_verb(argv[1], err);
	if (!about)
		return VERB_FAILED;
	if (about->run == verb_help) {
		print_help(stdout);
		return 0;
	}
	again[0] = argv[1];
	return about->run(about, 2, again, err);
}

/* options may stand before, between and behind words: gather the words in argv[1] … */
static int gather_words(const struct option_def *defs, void *target, int argc, char **argv,
			struct snap_error *err)
{
	int at = 0, n = 0, next;

	for (;;) {
		int r = options_parse(defs, target, argc - at, argv + at, &next, err);

		if (r < 0)
			return r;
		at += next;
		if (at > 0 && at <= argc && strcmp(argv[at - 1], "--") == 0) {
			while (at < argc)
				argv[++n] = argv[at++];
		}
		if (at >= argc)
			break;
		argv[++n] = argv[at];
	}
	argv[n + 1] = NULL;
	return n;
}

static int check_words(const struct verb *verb, int n, char *const *words, struct snap_error *err)
{
	if (n < verb->min_args)
		(void)snap_fail_plain(err, SNAP_E_USAGE, 0, "argument missing: snapctl %s %s",
				      verb->name, verb->usage);
	else if (verb->max_args >= 0 && n > verb->max_args)
		(void)snap_fail_plain(err, SNAP_E_USAGE, 0, "too many arguments: '%s'",
				      words[verb->max_args]);
	else
		return 0;
	return VERB_FAILED;
}

static void print_verb_help(const struct verb *verb, const struct option_def *defs)
{
	(void)printf("Usage: snapctl %s %s\n%s.\n\n", verb->name, verb->usage,
		     verb->help ? verb->help : "");
	options_print(defs, stdout);
}

int verb_parse(const struct verb *verb, const struct option_def *defs, void *target,
	       struct verb_common *common, int argc, char **argv, struct snap_error *err)
{
	int next = 1, n, r = 0;

	if (verb->max_args < 0) {
		r = options_parse(defs, target, argc, argv, &next, err);
		n = argc - next;
	} else {
		n = gather_words(defs, target, argc, argv, err);
	}
	if (r < 0 || n < 0)
		return VERB_FAILED;
	output_set_quiet(common->quiet);
	output_set_json(common->json);
	if (common->help) {
		print_verb_help(verb, defs);
		return VERB_HELPED;
	}
	return check_words(verb, n, argv + next, err) < 0 ? VERB_FAILED : next;
}

static int run_verb(int argc, char **argv, struct snap_error *err, const char **ret_name)
{
	const struct verb *verb;

	if (argc < 1)
		return snap_fail_plain(err, SNAP_E_USAGE, 0, "no verb given, see snapctl help"),
		       VERB_FAILED;
	if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
		print_help(stdout);
		return 0;
	}
	verb = find_verb(strcmp(argv[0], "--version") == 0 ? "version" : argv[0], err);
	if (!verb)
		return VERB_FAILED;
	*ret_name = verb->name;
	return verb->run(verb, argc, argv, err);
}

int main(int argc, char **argv)
{
	struct snap_error err = {.code = SNAP_OK};
	const char *name = NULL;
	int status;

	container_set_closed_stdio(fd_fill_stdio());
	/* an ignored SIGCHLD, inherited from a careless parent, would eat our children's status */
	(void)signal(SIGCHLD, SIG_DFL);
	status = run_verb(argc - 1, argv + 1, &err, &name);
	if (status == VERB_FAILED)
		status = output_failure(name, &err);
	if (output_finish(&err) < 0 && status == 0)
		status = output_failure(name, &err);
	return status;
}
