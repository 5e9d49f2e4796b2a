/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_VERBS_H
#define SNAP_CLI_VERBS_H

/*
 * What snapctl can do, as one table: parsing, help, completion and manual read it. A verb parses
 * its own options (argv[0] is its name), prints its result and says by what it returns how it went:
 * an exit status, or VERB_FAILED with err for a failure that main() tells.
 */

#include <stdio.h>

#include "common/config_file.h"
#include "common/error.h"
#include "common/options.h"

/* verbs that have results have them; put into their option table */
struct verb_common {
	bool help;
	bool json;
	bool quiet;
	const char *config_path;
	struct config_file config; /* other members may point into it */
};

/* clang-format off */
#define VERB_HELP_OPTION(type, member)                              \
	{"help", 'h', OPTION_FLAG, offsetof(type, member), NULL, NULL, \
	 .help = "show this text"}

/* `type` is the verb's struct, whose member `common` is a struct verb_common */
#define VERB_COMMON_OPTIONS(type)                                                            \
	{"json", 0, OPTION_FLAG, offsetof(type, common.json), NULL, NULL,                    \
	 .help = "print the result as JSON"},                                                \
	{"quiet", 'q', OPTION_FLAG, offsetof(type, common.quiet), NULL, NULL,                \
	 .help = "print no progress"},                                                       \
	{"config", 0, OPTION_STRING, offsetof(type, common.config_path), "SNAPINIT_CONFIG",  \
	 "FILE", "settings, not those of /etc/snapinit.conf; none: no file",                 \
	 .value = OPTION_VALUE_FILE},                                                        \
	VERB_HELP_OPTION(type, common.help),                                                 \
	{.name = NULL}

#define VERB_CRIU_OPTION(type)                                                  \
	{"criu", 0, OPTION_STRING, offsetof(type, criu), "SNAPCTL_CRIU", "PATH", \
	 "CRIU program", .key = "criu", .value = OPTION_VALUE_FILE}

#define VERB_SNAPINIT_OPTION(type)                                                      \
	{"snapinit", 0, OPTION_STRING, offsetof(type, snapinit), "SNAPCTL_SNAPINIT",    \
	 "PATH", "snapinit to use, not the one beside snapctl", .value = OPTION_VALUE_FILE}
/* clang-format on */

#define VERB_FAILED (-1) /* err is set */
#define VERB_HELPED (-2)

/* what stands behind a verb's options */
enum verb_words {
	VERB_WORDS_NONE,
	VERB_WORDS_DIR,
	VERB_WORDS_COMMAND,
	VERB_WORDS_VERB,
	VERB_WORDS_CHOICE,   /* one of .choices */
	VERB_WORDS_SNAPINIT, /* behind "--": options of snapinit */
};

struct verb {
	const char *name;
	const char *usage; /* what comes behind the name */
	int min_args;	   /* words behind the options */
	int max_args;	   /* -1: any number */
	int (*run)(const struct verb *verb, int argc, char **argv, struct snap_error *err);
	const char *help; /* one line; NULL: hidden */
	const struct option_def *options;
	enum verb_words words;
	const char *choices;  /* "a|b" */
	bool takes_snapinits; /* its options may stand among ours */
	const char *notes;    /* behind the options in the help; NULL: none */
};

/* ends with one whose name is NULL */
extern const struct verb verbs_table[];

/* NULL with SNAP_E_USAGE in err */
const struct verb *verbs_find(const char *name, struct snap_error *err);

/*
 * Take the settings and count the words behind the options. The index of the first of them (at
 * least 1), VERB_HELPED when the help was asked for and printed, or VERB_FAILED. A verb that takes
 * no command allows options behind its words too.
 */
int verb_parse(const struct verb *verb, void *target, struct verb_common *common, int argc,
	       char **argv, struct snap_error *err);

void verb_print_help(const struct verb *verb);
void verbs_print_help(FILE *out);

int verb_create(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_run(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_inspect(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_verify(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_export(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_ps(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_state(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_capture(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_log_level(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_diff(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_import(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_gc(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_doctor(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_version(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_config(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_completion(const struct verb *verb, int argc, char **argv, struct snap_error *err);
int verb_help(const struct verb *verb, int argc, char **argv, struct snap_error *err);

/* hidden: the engine of doctor's trial */
int verb_trial_engine(const struct verb *verb, int argc, char **argv, struct snap_error *err);

/* hidden: the tables as JSON */
int verb_options(const struct verb *verb, int argc, char **argv, struct snap_error *err);

extern const struct option_def verb_create_options[];
extern const struct option_def verb_run_options[];
extern const struct option_def verb_inspect_options[];
extern const struct option_def verb_verify_options[];
extern const struct option_def verb_export_options[];
extern const struct option_def verb_diff_options[];
extern const struct option_def verb_import_options[];
extern const struct option_def verb_gc_options[];
extern const struct option_def verb_ps_options[];
extern const struct option_def verb_state_options[];
extern const struct option_def verb_capture_options[];
extern const struct option_def verb_log_level_options[];
extern const struct option_def verb_doctor_options[];
extern const struct option_def verb_version_options[];
extern const struct option_def verb_config_options[];
extern const struct option_def verb_completion_options[];
extern const struct option_def verb_help_options[];

#endif
