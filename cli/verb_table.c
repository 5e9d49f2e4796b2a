/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>

#include "cli/completion.h"
#include "cli/verbs.h"
#include "common/init_options.h"

/* clang-format off */
const struct verb verbs_table[] = {
	{"create", "[options] --output DIR [--] command [argument...]", 1, -1, verb_create,
	 "boot an engine, snapshot it, check the snapshot and publish it",
	 verb_create_options, .words = VERB_WORDS_COMMAND},
	{"run", "[options] [snapinit's options] -- command [argument...]", 1, -1, verb_run,
	 "run a command under snapinit in a container of its own",
	 verb_run_options, .words = VERB_WORDS_COMMAND, .takes_snapinits = true,
	 .notes = "Every other option is snapinit's, see snapinit --help. The exit status is the\n"
		  "command's own, 128+N after signal N, 125 when snapctl failed, 126 and 127\n"
		  "when the command cannot be executed or found.\n"},
	{"inspect", "[options] DIR", 1, 1, verb_inspect,
	 "tell what a snapshot is and whether it would wake here",
	 verb_inspect_options, .words = VERB_WORDS_DIR},
	{"diff", "[options] A [B]", 1, 2, verb_diff,
	 "tell what differs between two snapshots, for a wake and in size",
	 verb_diff_options, .words = VERB_WORDS_DIR,
	 .notes = "Exit status 1: something differs that matters for a wake.\n"},
	{"verify", "[options] DIR", 1, 1, verb_verify,
	 "check a snapshot's files, and with --wake that it wakes",
	 verb_verify_options, .words = VERB_WORDS_DIR},
	{"export", "[options] (--criu DIR | --tar FILE) STORE", 1, 1, verb_export,
	 "write a snapshot as images that criu restore takes, or as one archive",
	 verb_export_options, .words = VERB_WORDS_DIR},
	{"import", "[options] FILE STORE", 2, 2, verb_import,
	 "make a generation of an archive that export has written",
	 verb_import_options, .words = VERB_WORDS_DIR},
	{"gc", "[options] STORE", 1, 1, verb_gc,
	 "remove what a store does not need any more",
	 verb_gc_options, .words = VERB_WORDS_DIR},
	{"ps", "[options]", 0, 0, verb_ps,
	 "list the snapinits that run here", verb_ps_options, .words = VERB_WORDS_NONE},
	{"state", "[options]", 0, 0, verb_state,
	 "tell what a running snapinit does", verb_state_options, .words = VERB_WORDS_NONE},
	{"capture", "[options]", 0, 0, verb_capture,
	 "snapshot an engine that runs, now; it serves on",
	 verb_capture_options, .words = VERB_WORDS_NONE},
	{"log-level", "[options] [LEVEL]", 0, 1, verb_log_level,
	 "tell or change how much a running snapinit logs",
	 verb_log_level_options, .words = VERB_WORDS_CHOICE, .choices = INIT_OPTIONS_LEVELS},
	{"doctor", "[options]", 0, 0, verb_doctor,
	 "tell whether snapshots can be made and woken here, and what to change",
	 verb_doctor_options, .words = VERB_WORDS_NONE},
	{"version", "[options]", 0, 0, verb_version,
	 "show the versions of all parts", verb_version_options, .words = VERB_WORDS_NONE},
	{"config", "[options] [-- snapinit's options]", 0, -1, verb_config,
	 "show the settings that snapinit would go by, and where they come from",
	 verb_config_options, .words = VERB_WORDS_SNAPINIT},
	{"completion", "SHELL", 1, 1, verb_completion,
	 "print a completion script for bash, zsh or fish",
	 verb_completion_options, .words = VERB_WORDS_CHOICE, .choices = COMPLETION_SHELLS},
	{"help", "[verb]", 0, 1, verb_help,
	 "show this text, or that of a verb", verb_help_options, .words = VERB_WORDS_VERB},
	{"__trial-engine", "PORT", 1, 1, verb_trial_engine, NULL, NULL, .words = VERB_WORDS_NONE},
	{"__options", "", 0, 0, verb_options, NULL, NULL, .words = VERB_WORDS_NONE},
	{.name = NULL},
};

/* clang-format on */
