/* SPDX-License-Identifier: Apache-2.0 */
#include "init/init_options.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
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
	{"version", 0, OPTION_FLAG, AT(version), NULL, NULL, "show version and features"},
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

static int parse_log_words(struct init_options *options, struct snap_error *err)
{
	int level;

	options->log_level = options->snapshot ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;
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

static int check(const struct init_options *options, struct snap_error *err)
{
	if (!options->argv[0])
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "no command given");
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
	if (r < 0)
		return r;
	options->argv = argv + next;
	if (options->help || options->version)
		return 0;
	r = parse_words(options, err);
	if (r < 0)
		return r;
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

void init_options_print_version(FILE *out)
{
	(void)fputs("snapinit " SNAP_VERSION "\n"
		    "+wake +capture +notify +subreaper +control -shield\n",
		    out);
}
