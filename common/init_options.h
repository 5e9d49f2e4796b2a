/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_INIT_OPTIONS_H
#define SNAP_COMMON_INIT_OPTIONS_H

/*
 * What the user said to snapinit, checked. Strings point into argv, the environment and the member
 * config, so the struct must not be copied once it is filled. It is in this layer because snapctl
 * tells of the same table: help, completion, manual.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/config_file.h"
#include "common/dialect.h"
#include "common/error.h"
#include "common/log.h"
#include "common/options.h"
#include "common/page_options.h"
#include "common/signal_map.h"

/* words that snapinit and snapctl have in common */
#define INIT_OPTIONS_ENGINES "auto|llama-server|vllm|sglang|http|tcp|none"
#define INIT_OPTIONS_READY   "http://HOST:PORT/PATH|tcp:HOST:PORT|exec:COMMAND|fd|notify|none"
#define INIT_OPTIONS_ORACLE  "GET URL|POST URL BODY|none"
#define INIT_OPTIONS_RELEASE INIT_OPTIONS_ORACLE
/* differences that do not refuse a snapshot: the gate's checks, and one thing of some of them */
#define INIT_OPTIONS_ACCEPT                                                                      \
	"argv|cwd|uid|gid|groups|env|env:NAME|adapter|machine|kernel|cpu|cpu:FLAG|criu|setting|" \
	"caps|filter|privileged|no_new_privs|page_size|nofile|memory|gpu|gpu:THING|file|"        \
	"file:PATH|dir|dir:PATH|listener|listener:ADDRESS:PORT|pid|stdio"
#define INIT_OPTIONS_LEVELS "error|warn|info|debug"
#define INIT_OPTIONS_CONTROL                                                \
	"/run/snapinit.sock" /* where a PID 1 listens unless told otherwise \
			      */

enum capture_mode {
	CAPTURE_NEVER,
	CAPTURE_FIRST_BOOT, /* the engine serves on */
	CAPTURE_ON_REQUEST, /* of the control socket; the engine serves on */
	CAPTURE_EXIT,	    /* the engine ends with the capture */
};

/* how the engine may say by itself that it is ready; the worker finds out all other kinds */
enum ready_kind {
	READY_BY_WORKER,
	READY_FD,     /* a newline on --notify-fd */
	READY_NOTIFY, /* READY=1 to NOTIFY_SOCKET */
};

struct init_options {
	bool kill_group;
	bool subreaper;
	bool help;
	bool version;
	bool exit_when_ready;
	int verbose;
	uint64_t grace_ms;	     /* 0: never KILL */
	uint64_t wake_timeout_ms;    /* 0: the worker says */
	uint64_t capture_timeout_ms; /* 0: none */
	uint64_t pid_base;
	bool pid_base_is_chosen; /* somebody said it, if only the default */
	uint64_t notify_fd;
	const char *snapshot; /* NULL: plain mode */
	const char *generation;
	const char *worker;
	const char *control; /* NULL: the usual place, if we are PID 1 */
	const char *ready;

	/* words, and what they mean */
	const char *capture_word;
	const char *fallback_word;
	const char *log_level_word;
	const char *log_format_word;
	enum capture_mode capture;
	bool fallback_none;
	enum log_level log_level;
	enum log_format log_format;
	enum ready_kind ready_kind;

	/* for the worker, as they are */
	const char *engine;
	const char *ready_timeout;
	const char *quiet_timeout;
	uint64_t dump_timeout_ms;
	const char *oracle;
	const char *warmup;
	const char *release;
	const char *reclaim;
	const char *criu;
	struct option_list include;
	struct option_list accept;
	struct page_options pages;

	/* what small inits have */
	bool single_child;
	bool pause;
	bool warn_on_reap;
	bool license;
	bool foreign_debug;	 /* another init's variable asks for all records */
	int parent_death_signal; /* 0: none */
	int stop_signal;	 /* starts the grace like TERM; 0: none */
	const char *dialect_word;
	struct option_list rewrite_words;
	struct signal_map rewrite;
	struct option_set remap_exit; /* exit statuses of the engine that become 0 */
	enum dialect dialect;
	bool own_session; /* plain mode: the child leads a session, with the terminal if any */
	bool job_control; /* of dumb-init: stop signals are passed on, and stop us too */

	const char *config_path;
	struct config_file config;

	char **argv; /* the engine's command, NULL-terminated; not empty unless there is none to be
			run */
};

/* all of snapinit's options; the offsets are in struct init_options */
extern const struct option_def init_options_table[];

/* 0, or -EINVAL with one line in err; dialect is valid then, too */
int init_options_parse(struct init_options *options, int argc, char **argv, struct snap_error *err);

/* without the check that it is a whole start; `note` is told of every value that counts */
int init_options_parse_noted(struct init_options *options, int argc, char **argv,
			     option_note_fn note, void *arg, struct snap_error *err);

/* a file that others read too: 0, or -EINVAL as for a start with nothing but it */
int init_options_check_config(const struct config_file *config, struct snap_error *err);

void init_options_print_help(FILE *out);
void init_options_print_version(FILE *out);
void init_options_print_license(FILE *out);

#endif
