/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_VERBS_H
#define SNAP_CLI_VERBS_H

/*
 * What snapctl can do. A verb parses its own options (argv[0] is its name), prints its result and
 * says by what it returns how it went: an exit status, or -1 with err for a failure that main()
 * tells.
 */

#include "common/error.h"
#include "common/options.h"

/* every verb has them; put into its option table */
struct verb_common {
	bool help;
	bool json;
	bool quiet;
};

/* `type` is the verb's struct, whose member `common` is a struct verb_common */
/* clang-format off */
#define VERB_COMMON_OPTIONS(type)                                             \
	{"json", 0, OPTION_FLAG, offsetof(type, common.json), NULL, NULL,     \
	 .help = "print the result as JSON"},                                 \
	{"quiet", 'q', OPTION_FLAG, offsetof(type, common.quiet), NULL, NULL, \
	 .help = "print no progress"},                                        \
	{"help", 'h', OPTION_FLAG, offsetof(type, common.help), NULL, NULL,   \
	 .help = "show this text"},                                           \
	{.name = NULL}
/* clang-format on */

#define VERB_FAILED (-1) /* err is set */

struct verb {
	const char *name;
	const char *usage; /* what comes behind the name */
	int min_args;	   /* words behind the options */
	int max_args;	   /* -1: any number */
	int (*run)(const struct verb *verb, int argc, char **argv, struct snap_error *err);
	const char *help; /* one line; NULL: hidden */
};

/*
 * Parse the options and count the words behind them. The index of the first of them (at least 1),
 * VERB_HELPED when the help was asked for and printed, or VERB_FAILED. A verb that takes no command
 * allows options behind its words too.
 */
#define VERB_HELPED (-2)
int verb_parse(const struct verb *verb, const struct option_def *defs, void *target,
	       struct verb_common *common, int argc, char **argv, struct snap_error *err);

int verb_create(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_run(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_inspect(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_verify(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_export(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_ps(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_state(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_capture(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_log_level(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_doctor(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_version(const struct verb *verb, int argc, char **argv, struct snap_error *err);

/* hidden: the engine of doctor's trial */
int verb_trial_engine(const struct verb *verb, int argc, char **argv, struct snap_error *err);

#endif
