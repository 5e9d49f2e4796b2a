/* SPDX-License-Identifier: Apache-2.0 */
#include "common/init_options.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define AT(member) offsetof(struct init_options, member)
#define ENV(name)  "SNAPINIT_" name

/* clang-format off */
static const struct option_def defs[] = {
	{"kill-group", 'g', OPTION_FLAG, AT(kill_group), "SNAPINIT_KILL_GROUP", NULL,
	 "signals go to the command's process group"},
	{"subreaper", 's', OPTION_FLAG, AT(subreaper), "SNAPINIT_SUBREAPER", NULL,
	 "adopt orphans when not PID 1 (always on then)"},
	{"grace", 0, OPTION_DURATION, AT(grace_ms), "SNAPINIT_GRACE", "DUR",
	 "after TERM, KILL everything when DUR has passed (0: never, the platform does)"},
	{"rewrite", 'r', OPTION_LIST, AT(rewrite_words), "SNAPINIT_REWRITE", "S:R",
	 "the command gets signal R for S, numbers or names; 0: none (repeatable)"},
	{"remap-exit", 'e', OPTION_SET, AT(remap_exit), "SNAPINIT_REMAP_EXIT", "N",
	 "exit 0 when the command exits with N (repeatable)"},
	{"stop-signal", 0, OPTION_SIGNAL, AT(stop_signal), "SNAPINIT_STOP_SIGNAL", "SIG",
	 "SIG asks to end as TERM does: it starts the grace"},
	{"parent-death-signal", 'p', OPTION_SIGNAL, AT(parent_death_signal),
	 "SNAPINIT_PARENT_DEATH_SIGNAL", "SIG", "get SIG when our parent ends"},
	{"single-child", 'c', OPTION_FLAG, AT(single_child), "SNAPINIT_SINGLE_CHILD", NULL,
	 "signals go to the command alone (always, but for -g and dumb-init)"},
	{"warn-on-reap", 'w', OPTION_FLAG, AT(warn_on_reap), "SNAPINIT_WARN_ON_REAP", NULL,
	 "warn when an orphan is reaped"},
	{"pause", 'P', OPTION_FLAG, AT(pause), "SNAPINIT_PAUSE", NULL,
	 "no command: reap orphans until TERM or INT, then exit 0"},
	{"docker-init-compat", 0, OPTION_WORD, AT(dialect_word), "SNAPINIT_DOCKER_INIT_COMPAT",
	 "NAME", "behave as tini, dumb-init, catatonit or none (tini; as we are called)"},
	{"snapshot", 0, OPTION_STRING, AT(snapshot), "SNAPINIT_SNAPSHOT", "DIR",
	 "wake from the snapshot in DIR if it is usable"},
	{"capture", 0, OPTION_STRING, AT(capture_word), "SNAPINIT_CAPTURE", "MODE",
	 "after a cold boot: never, first-boot (serve on), on-request, exit (never)"},
	{"fallback", 0, OPTION_STRING, AT(fallback_word), "SNAPINIT_FALLBACK", "MODE",
	 "without a wake: boot cold, or none, which exits 222 (cold)"},
	{"generation", 0, OPTION_STRING, AT(generation), "SNAPINIT_GENERATION", "NAME",
	 "generation to wake or to make (current, next)"},
	{"wake-timeout", 0, OPTION_DURATION, AT(wake_timeout_ms), "SNAPINIT_WAKE_TIMEOUT", "DUR",
	 "a wake may last DUR (0: half of the known cold boot)"},
	{"capture-timeout", 0, OPTION_DURATION, AT(capture_timeout_ms), "SNAPINIT_CAPTURE_TIMEOUT",
	 "DUR", "a capture may last DUR (10m)"},
	{"exit-when-ready", 0, OPTION_FLAG, AT(exit_when_ready), "SNAPINIT_EXIT_WHEN_READY", NULL,
	 "end the engine once it is awake and exit 0"},
	{"pid-base", 0, OPTION_UINT, AT(pid_base), "SNAPINIT_PID_BASE", "N",
	 "first pid of an engine that will be captured (1000)"},
	{"control", 0, OPTION_STRING, AT(control), "SNAPINIT_CONTROL", "PATH",
	 "socket for snapctl state, capture, log-level; none (/run/snapinit.sock for PID 1)"},
	{"worker", 0, OPTION_STRING, AT(worker), "SNAPINIT_WORKER", "PATH",
	 "snapworker (../libexec/snapinit/snapworker)"},
	{"engine", 0, OPTION_STRING, AT(engine), "SNAPINIT_ENGINE", "NAME",
	 "adapter: auto, llama-server, http, tcp, none (auto)"},
	{"ready", 0, OPTION_STRING, AT(ready), "SNAPINIT_READY", "SPEC",
	 "http://H:P/PATH, tcp:H:P, exec:COMMAND, fd, notify, none"},
	{"ready-timeout", 0, OPTION_STRING, AT(ready_timeout), "SNAPINIT_READY_TIMEOUT", "DUR",
	 "give up a capture when the engine is not ready after DUR"},
	{"quiet-timeout", 0, OPTION_STRING, AT(quiet_timeout), "SNAPINIT_QUIET_TIMEOUT", "DUR",
	 "wait so long for open connections to end before a capture (10s)"},
	{"dump-timeout", 0, OPTION_DURATION, AT(dump_timeout_ms), "SNAPINIT_DUMP_TIMEOUT", "DUR",
	 "CRIU's dump may last DUR (2m)"},
	{"notify-fd", 0, OPTION_UINT, AT(notify_fd), "SNAPINIT_NOTIFY_FD", "N",
	 "the engine's descriptor for --ready fd (3)"},
	{"oracle", 0, OPTION_STRING, AT(oracle), "SNAPINIT_ORACLE", "SPEC",
	 "request whose answer must survive: GET URL, POST URL BODY, none"},
	{"warmup", 0, OPTION_STRING, AT(warmup), "SNAPINIT_WARMUP", "N",
	 "requests before a capture"},
	{"include", 0, OPTION_LIST, AT(include), "SNAPINIT_INCLUDE", "PATH",
	 "file to put into the snapshot (repeatable)"},
	{"accept", 0, OPTION_LIST, AT(accept), "SNAPINIT_ACCEPT", "FIELD",
	 "difference that does not refuse a snapshot (repeatable)"},
	PAGE_OPTIONS_OF_CAPTURE(struct init_options, pages, ENV),
	PAGE_OPTIONS_OF_WAKE(struct init_options, pages, ENV),
	{"criu", 0, OPTION_STRING, AT(criu), "SNAPINIT_CRIU", "PATH", "CRIU program"},
	{"log-level", 0, OPTION_STRING, AT(log_level_word), "SNAPINIT_LOG_LEVEL", "LEVEL",
	 "error, warn, info, debug (info with --snapshot, else warn)"},
	{"log-format", 0, OPTION_STRING, AT(log_format_word), "SNAPINIT_LOG_FORMAT", "FORMAT",
	 "auto, text, json (auto)"},
	{"verbose", 'v', OPTION_COUNT, AT(verbose), NULL, NULL, "one log level more each time"},
	{"help", 'h', OPTION_FLAG, AT(help), NULL, NULL, "show this text"},
	{"version", 'V', OPTION_FLAG, AT(version), NULL, NULL, "show version and features"},
	{"license", 'l', OPTION_FLAG, AT(license), NULL, NULL, "show the licence"},
	{"licence", 'L', OPTION_FLAG, AT(license), NULL, NULL, "the same, as catatonit has it"},
	{.name = NULL},
};

/* clang-format on */

static int parse_capture(struct init_options *options, struct snap_error *err)
{
	static const char *const words[] = {
		[CAPTURE_NEVER] = "never",
		[CAPTURE_FIRST_BOOT] = "first-boot",
		[CAPTURE_ON_REQUEST] = "on-request",
		[CAPTURE_EXIT] = "exit",
	};

	for (unsigned int i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(options->capture_word, words[i]) == 0) {
			options->capture = (enum capture_mode)i;
			return 0;
		}
	}
	return snap_fail(err, SNAP_E_USAGE, EINVAL,
			 "--capture: '%s' is not never, first-boot, on-request or exit",
			 options->capture_word);
}

/*
 * What the others read from the environment, for images that set it. TINI_ variables count when
 * they are there at all, whatever they hold.
 */
static void inherit_foreign(struct init_options *options)
{
	const char *debug = getenv("DUMB_INIT_DEBUG"), *session = getenv("DUMB_INIT_SETSID");

	options->subreaper = options->subreaper || getenv("TINI_SUBREAPER");
	options->kill_group = options->kill_group || getenv("TINI_KILL_PROCESS_GROUP");
	if (options->dialect == DIALECT_DUMB_INIT && session && strcmp(session, "0") == 0)
		options->single_child = true;
	options->foreign_debug = (debug && strcmp(debug, "1") == 0) || getenv("CATATONIT_DEBUG") ||
				 (options->dialect == DIALECT_DUMB_INIT && options->verbose > 0);
}

static void settle_dialect(struct init_options *options)
{
	static const int job_signals[] = {SIGTSTP, SIGTTIN, SIGTTOU};

	options->job_control = options->dialect == DIALECT_DUMB_INIT;
	options->own_session = options->dialect == DIALECT_DUMB_INIT && !options->single_child;
	options->kill_group =
		(options->kill_group || options->own_session) && !options->single_child;
	/* in a session of its own the default action of these is void: its group is an orphan */
	for (unsigned int i = 0; options->own_session && i < ARRAY_LEN(job_signals); i++)
		signal_map_default(&options->rewrite, job_signals[i], SIGSTOP);
}

/* the level without --log-level; TINI_VERBOSITY counts from 0 as our levels do */
static enum log_level default_level(const struct init_options *options)
{
	const char *tini = getenv("TINI_VERBOSITY");
	int level = tini ? atoi(tini) : 0;

	if (options->foreign_debug || level > LOG_LEVEL_DEBUG)
		return LOG_LEVEL_DEBUG;
	if (tini)
		return level < 0 ? LOG_LEVEL_ERROR : (enum log_level)level;
	return options->snapshot ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;
}

static int parse_log_words(struct init_options *options, struct snap_error *err)
{
	int level;

	options->log_level = default_level(options);
	if (options->log_level_word &&
	    log_level_parse(options->log_level_word, &options->log_level) < 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "--log-level: '%s' is not error, warn, info or debug",
				 options->log_level_word);
	level = options->verbose > LOG_LEVEL_MAX_ ? LOG_LEVEL_DEBUG
						  : (int)options->log_level + options->verbose;
	options->log_level = level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG : (enum log_level)level;

	options->log_format = LOG_FORMAT_AUTO;
	if (options->log_format_word &&
	    log_format_parse(options->log_format_word, &options->log_format) < 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "--log-format: '%s' is not auto, text or json",
				 options->log_format_word);
	return 0;
}

static int parse_words(struct init_options *options, struct snap_error *err)
{
	int r = parse_capture(options, err);

	if (r == 0)
		r = page_options_check(&options->pages, err);
	if (r < 0)
		return r;
	if (strcmp(options->fallback_word, "none") == 0)
		options->fallback_none = true;
	else if (strcmp(options->fallback_word, "cold") != 0)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--fallback: '%s' is not cold or none",
				 options->fallback_word);
	if (options->ready && strcmp(options->ready, "fd") == 0)
		options->ready_kind = READY_FD;
	else if (options->ready && strcmp(options->ready, "notify") == 0)
		options->ready_kind = READY_NOTIFY;
	return parse_log_words(options, err);
}

static int parse_rewrites(struct init_options *options, struct snap_error *err)
{
	for (unsigned int i = 0; i < options->rewrite_words.n; i++) {
		if (signal_map_parse(&options->rewrite, options->rewrite_words.items[i]) < 0)
			return snap_fail(err, SNAP_E_USAGE, EINVAL,
					 "--rewrite: '%s' is not SIGNAL:SIGNAL or SIGNAL:0",
					 options->rewrite_words.items[i]);
	}
	return 0;
}

static int choose_dialect(struct init_options *options, const char *program, struct snap_error *err)
{
	options->dialect = dialect_of_program(program);
	if (!options->dialect_word || dialect_parse(options->dialect_word, &options->dialect) == 0)
		return 0;
	return snap_fail(err, SNAP_E_USAGE, EINVAL,
			 "--docker-init-compat: '%s' is not tini, dumb-init, catatonit or none",
			 options->dialect_word);
}

static int check_command(struct init_options *options, struct snap_error *err)
{
	char **argv = options->argv;

	if (options->pause && options->dialect != DIALECT_CATATONIT && argv[0])
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--pause takes no command");
	if (options->pause && options->snapshot)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--pause has nothing to snapshot");
	if (options->pause)
		return 0;
	if (!argv[0])
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "no command given");
	/* "PROGRAM -- ARGS" is how tini's own usage line has it, and getopt takes it */
	if ((options->dialect == DIALECT_TINI || options->dialect == DIALECT_CATATONIT) &&
	    argv[1] && strcmp(argv[1], "--") == 0) {
		argv[1] = argv[0];
		options->argv++;
	}
	return 0;
}

static int check(const struct init_options *options, struct snap_error *err)
{
	if (options->pid_base < 2 || options->pid_base > 4000000)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--pid-base: not within 2 and 4000000");
	if (options->notify_fd < 3 || options->notify_fd > 1000)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--notify-fd: not within 3 and 1000");
	if (options->snapshot)
		return 0;
	if (options->capture != CAPTURE_NEVER)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--capture needs --snapshot");
	if (options->exit_when_ready)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--exit-when-ready needs --snapshot");
	if (options->fallback_none)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--fallback none needs --snapshot");
	return 0;
}

int init_options_parse(struct init_options *options, int argc, char **argv, struct snap_error *err)
{
	int next, r;

	*options = (struct init_options){
		.grace_ms = 0,
		.capture_timeout_ms = 600000,
		.pid_base = 1000,
		.notify_fd = 3,
		.capture_word = "never",
		.fallback_word = "cold",
	};
	r = options_parse(defs, options, argc, argv, &next, err);
	if (r < 0) {
		(void)choose_dialect(options, argv[0], NULL);
		return r;
	}
	options->argv = argv + next;
	r = choose_dialect(options, argv[0], err);
	if (r < 0 || options->help || options->version || options->license)
		return r;
	inherit_foreign(options);
	r = parse_words(options, err);
	if (r == 0)
		r = parse_rewrites(options, err);
	if (r == 0)
		r = check_command(options, err);
	if (r < 0)
		return r;
	settle_dialect(options);
	return check(options, err);
}

void init_options_print_help(FILE *out)
{
	(void)fputs("Usage: snapinit [options] [--] command [argument...]\n"
		    "Runs the command as a container's PID 1; with --snapshot it wakes it from a\n"
		    "snapshot instead of booting it, where that is possible.\n\n",
		    out);
	options_print(defs, out);
	(void)fputs(
		"\nExit status: the command's own, 128+N after signal N, 127 command not found,\n"
		"126 command not executable, 125 snapinit failed, 222 no wake and --fallback none.\n",
		out);
}

void init_options_print_license(FILE *out)
{
	(void)fputs("snapinit is licensed under the Apache License, Version 2.0:\n"
		    "https://www.apache.org/licenses/LICENSE-2.0\n"
		    "It comes without warranties or conditions of any kind.\n",
		    out);
}

void init_options_print_version(FILE *out)
{
	(void)fputs("snapinit " SNAP_VERSION "\n"
		    "+wake +capture +notify +subreaper +control -shield\n",
		    out);
}
