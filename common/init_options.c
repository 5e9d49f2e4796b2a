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
#define KEY(name)  name

/* in the order of the enums */
#define CAPTURE_WORDS  "never|first-boot|on-request|exit"
#define FALLBACK_WORDS "cold|none"
#define FORMAT_WORDS   "auto|text|json"

/*
 * An entry with a twin in the environment has one in the configuration file, of the same name; but
 * not what makes sense for a single start only. A unit test holds us to that.
 */
/* clang-format off */
const struct option_def init_options_table[] = {
	{"kill-group", 'g', OPTION_FLAG, AT(kill_group), ENV("KILL_GROUP"), NULL,
	 "signals go to the command's process group", .key = "kill-group"},
	{"subreaper", 's', OPTION_FLAG, AT(subreaper), ENV("SUBREAPER"), NULL,
	 "adopt orphans when not PID 1 (always on then)", .key = "subreaper"},
	{"grace", 0, OPTION_DURATION, AT(grace_ms), ENV("GRACE"), "DUR",
	 "after TERM, KILL everything when DUR has passed; 0: never, the platform does",
	 .key = "grace", .initial = "0"},
	{"rewrite", 'r', OPTION_LIST, AT(rewrite_words), ENV("REWRITE"), "S:R",
	 "the command gets signal R for S, numbers or names; 0: none (repeatable)", .key = "rewrite"},
	{"remap-exit", 'e', OPTION_SET, AT(remap_exit), ENV("REMAP_EXIT"), "N",
	 "exit 0 when the command exits with N (repeatable)", .key = "remap-exit"},
	{"stop-signal", 0, OPTION_SIGNAL, AT(stop_signal), ENV("STOP_SIGNAL"), "SIG",
	 "SIG asks to end as TERM does: it starts the grace", .key = "stop-signal"},
	{"parent-death-signal", 'p', OPTION_SIGNAL, AT(parent_death_signal),
	 ENV("PARENT_DEATH_SIGNAL"), "SIG", "get SIG when our parent ends",
	 .key = "parent-death-signal"},
	{"single-child", 'c', OPTION_FLAG, AT(single_child), ENV("SINGLE_CHILD"), NULL,
	 "signals go to the command alone (always, but for -g and dumb-init)",
	 .key = "single-child"},
	{"warn-on-reap", 'w', OPTION_FLAG, AT(warn_on_reap), ENV("WARN_ON_REAP"), NULL,
	 "warn when an orphan is reaped", .key = "warn-on-reap"},
	{"pause", 'P', OPTION_FLAG, AT(pause), ENV("PAUSE"), NULL,
	 "no command: reap orphans until TERM or INT, then exit 0", .key = "pause"},
	{"docker-init-compat", 0, OPTION_WORD, AT(dialect_word), ENV("DOCKER_INIT_COMPAT"), "NAME",
	 "behave as another init (tini; without this as we are called)",
	 .key = "docker-init-compat", .words = "tini|dumb-init|catatonit|none"},
	{"snapshot", 0, OPTION_STRING, AT(snapshot), ENV("SNAPSHOT"), "DIR",
	 "wake from the snapshot in DIR if it is usable",
	 .key = "snapshot", .value = OPTION_VALUE_DIR},
	{"capture", 0, OPTION_CHOICE, AT(capture_word), ENV("CAPTURE"), NULL,
	 "after a cold boot: no snapshot, one and serve on, one when snapctl asks, one and exit",
	 .key = "capture", .initial = "never", .words = CAPTURE_WORDS},
	{"fallback", 0, OPTION_CHOICE, AT(fallback_word), ENV("FALLBACK"), NULL,
	 "without a wake: boot cold, or none, which exits 222",
	 .key = "fallback", .initial = "cold", .words = FALLBACK_WORDS},
	{"generation", 0, OPTION_STRING, AT(generation), ENV("GENERATION"), "NAME",
	 "generation to wake or to make, not the current or the next", .key = "generation"},
	{"wake-timeout", 0, OPTION_DURATION, AT(wake_timeout_ms), ENV("WAKE_TIMEOUT"), "DUR",
	 "a wake may last DUR; 0: half of the known cold boot, 5s to 10m",
	 .key = "wake-timeout", .initial = "0"},
	{"capture-timeout", 0, OPTION_DURATION, AT(capture_timeout_ms), ENV("CAPTURE_TIMEOUT"), "DUR",
	 "a capture may last DUR, from the boot on; 0: for ever",
	 .key = "capture-timeout", .initial = "10m"},
	{"exit-when-ready", 0, OPTION_FLAG, AT(exit_when_ready), ENV("EXIT_WHEN_READY"), NULL,
	 .help = "end the engine once it is awake and exit 0"},
	{"pid-base", 0, OPTION_UINT, AT(pid_base), ENV("PID_BASE"), "N",
	 "first pid of an engine that will be captured", .key = "pid-base", .initial = "1000"},
	{"control", 0, OPTION_STRING, AT(control), ENV("CONTROL"), "PATH",
	 "socket for snapctl state, capture, log-level; none (PID 1: " INIT_OPTIONS_CONTROL ")",
	 .key = "control", .value = OPTION_VALUE_FILE},
	{"worker", 0, OPTION_STRING, AT(worker), ENV("WORKER"), "PATH",
	 "snapworker, not the one in ../libexec/snapinit",
	 .key = "worker", .value = OPTION_VALUE_FILE},
	{"engine", 0, OPTION_STRING, AT(engine), ENV("ENGINE"), "NAME",
	 "what is known about the engine", .key = "engine", .initial = "auto",
	 .words = INIT_OPTIONS_ENGINES},
	{"ready", 0, OPTION_STRING, AT(ready), ENV("READY"), "SPEC",
	 "when the engine is ready", .key = "ready", .words = INIT_OPTIONS_READY},
	{"ready-timeout", 0, OPTION_DURATION_TEXT, AT(ready_timeout), ENV("READY_TIMEOUT"), "DUR",
	 "give up a capture when the engine is not ready after DUR",
	 .key = "ready-timeout", .initial = "10m"},
	{"quiet-timeout", 0, OPTION_DURATION_TEXT, AT(quiet_timeout), ENV("QUIET_TIMEOUT"), "DUR",
	 "wait so long for open connections to end before a capture",
	 .key = "quiet-timeout", .initial = "10s"},
	{"dump-timeout", 0, OPTION_DURATION, AT(dump_timeout_ms), ENV("DUMP_TIMEOUT"), "DUR",
	 "CRIU's dump may last DUR", .key = "dump-timeout", .initial = "2m"},
	{"notify-fd", 0, OPTION_UINT, AT(notify_fd), ENV("NOTIFY_FD"), "N",
	 "the engine's descriptor for --ready fd", .key = "notify-fd", .initial = "3"},
	{"oracle", 0, OPTION_STRING, AT(oracle), ENV("ORACLE"), "REQUEST",
	 "request whose answer must survive", .key = "oracle", .words = INIT_OPTIONS_ORACLE},
	{"warmup", 0, OPTION_UINT_TEXT, AT(warmup), ENV("WARMUP"), "N",
	 "requests before a capture", .key = "warmup"},
	{"release", 0, OPTION_STRING, AT(release), ENV("RELEASE"), "REQUEST",
	 "before a capture: gives memory back that a snapshot need not hold", .key = "release",
	 .words = INIT_OPTIONS_RELEASE},
	{"reclaim", 0, OPTION_STRING, AT(reclaim), ENV("RECLAIM"), "REQUEST",
	 "after a wake or a capture: takes it again", .key = "reclaim",
	 .words = INIT_OPTIONS_RELEASE},
	{"include", 0, OPTION_LIST, AT(include), ENV("INCLUDE"), "PATH",
	 "file to put into the snapshot (repeatable)",
	 .key = "include", .value = OPTION_VALUE_FILE},
	{"accept", 0, OPTION_LIST, AT(accept), ENV("ACCEPT"), "FIELD",
	 "difference that does not refuse a snapshot (repeatable)",
	 .key = "accept", .words = INIT_OPTIONS_ACCEPT},
	PAGE_OPTIONS_OF_CAPTURE(struct init_options, pages, ENV, KEY),
	PAGE_OPTIONS_OF_WAKE(struct init_options, pages, ENV, KEY),
	{"criu", 0, OPTION_STRING, AT(criu), ENV("CRIU"), "PATH", "CRIU program",
	 .key = "criu", .value = OPTION_VALUE_FILE},
	{"log-level", 0, OPTION_CHOICE, AT(log_level_word), ENV("LOG_LEVEL"), NULL,
	 "what is told (info with --snapshot, else warn)",
	 .key = "log-level", .words = INIT_OPTIONS_LEVELS},
	{"log-format", 0, OPTION_CHOICE, AT(log_format_word), ENV("LOG_FORMAT"), NULL,
	 "of the records; auto: text on a terminal, else json",
	 .key = "log-format", .initial = "auto", .words = FORMAT_WORDS},
	{"config", 0, OPTION_STRING, AT(config_path), ENV("CONFIG"), "FILE",
	 "settings, not those of /etc/snapinit.conf; none: no file", .value = OPTION_VALUE_FILE},
	{"verbose", 'v', OPTION_COUNT, AT(verbose), NULL, NULL, .help = "one log level more each time"},
	{"help", 'h', OPTION_FLAG, AT(help), NULL, NULL, .help = "show this text"},
	{"version", 'V', OPTION_FLAG, AT(version), NULL, NULL, .help = "show version and features"},
	{"license", 'l', OPTION_FLAG, AT(license), NULL, NULL, .help = "show the licence"},
	{"licence", 'L', OPTION_FLAG, AT(license), NULL, NULL, .help = "the same, as catatonit has it"},
	{.name = NULL},
};

/* clang-format on */

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
	options->log_format = LOG_FORMAT_AUTO;
	if ((options->log_level_word &&
	     log_level_parse(options->log_level_word, &options->log_level) < 0) ||
	    log_format_parse(options->log_format_word, &options->log_format) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, EINVAL, "a word of a log option");
	level = options->verbose > LOG_LEVEL_MAX_ ? LOG_LEVEL_DEBUG
						  : (int)options->log_level + options->verbose;
	options->log_level = level > LOG_LEVEL_DEBUG ? LOG_LEVEL_DEBUG : (enum log_level)level;
	return 0;
}

static int parse_words(struct init_options *options, struct snap_error *err)
{
	options->capture =
		(enum capture_mode)option_word_index(CAPTURE_WORDS, options->capture_word);
	options->fallback_none = option_word_index(FALLBACK_WORDS, options->fallback_word) == 1;
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

/* a check, or CHECK:THING where the list has one with a thing */
static bool is_field(const char *text)
{
	const char *at = INIT_OPTIONS_ACCEPT, *word;
	size_t size, len = strlen(text);

	while ((word = option_word_next(&at, &size)) != NULL) {
		const char *colon = memchr(word, ':', size);
		size_t head = colon ? (size_t)(colon - word) + 1 : size;

		if (strncmp(text, word, head) == 0 && (colon ? len > head : len == head))
			return true;
	}
	return false;
}

static int check_accepts(const struct init_options *options, struct snap_error *err)
{
	char words[OPTION_WORDS_TEXT_MAX];

	for (unsigned int i = 0; i < options->accept.n; i++) {
		if (!is_field(options->accept.items[i]))
			return snap_fail(err, SNAP_E_USAGE, EINVAL, "--accept: '%s' is not %s",
					 options->accept.items[i],
					 option_words_text(INIT_OPTIONS_ACCEPT, " or ", words));
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
	/* "PROGRAM -- ARGS" is how tini's own usage line has it; getopt takes the first -- there is
	 */
	if ((options->dialect == DIALECT_TINI || options->dialect == DIALECT_CATATONIT) &&
	    strcmp(argv[-1], "--") != 0 && argv[1] && strcmp(argv[1], "--") == 0) {
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

static bool only_tells(const struct init_options *options)
{
	return options->help || options->version || options->license;
}

/* what is asked for help shall get it, whatever stands elsewhere */
static int take_all(struct options *sources, struct init_options *options, int argc, char **argv,
		    int *ret_next, struct snap_error *err)
{
	int r = options_take_words(sources, argc, argv, ret_next, err);

	if (r < 0 || only_tells(options))
		return r;
	r = options_take_environment(sources, err);
	if (r == 0)
		r = config_file_load(&options->config, options->config_path, err);
	if (r == 0)
		r = options_take_config(sources, &options->config, NULL, err);
	return r < 0 ? r : options_take_defaults(sources, err);
}

int init_options_parse_noted(struct init_options *options, int argc, char **argv,
			     option_note_fn note, void *arg, struct snap_error *err)
{
	struct options sources;
	int next = 0, r;

	*options = (struct init_options){.argv = NULL};
	options_init(&sources, init_options_table, options);
	sources.note = note;
	sources.note_arg = arg;
	r = take_all(&sources, options, argc, argv, &next, err);
	if (r < 0) {
		(void)choose_dialect(options, argv[0], NULL);
		return r;
	}
	options->argv = argv + next;
	options->pid_base_is_chosen =
		sources.from[options_find(init_options_table, "pid-base") - init_options_table] !=
		OPTION_DEFAULT;
	r = choose_dialect(options, argv[0], err);
	if (r < 0 || only_tells(options))
		return r;
	/* an empty name is how to say no against the file */
	if (options->snapshot && options->snapshot[0] == '\0')
		options->snapshot = NULL;
	inherit_foreign(options);
	r = parse_words(options, err);
	if (r == 0)
		r = parse_rewrites(options, err);
	return r < 0 ? r : check_accepts(options, err);
}

int init_options_check_config(const struct config_file *config, struct snap_error *err)
{
	static struct init_options options;
	struct options sources;
	int r;

	options = (struct init_options){.argv = NULL};
	options_init(&sources, init_options_table, &options);
	r = options_take_config(&sources, config, NULL, err);
	if (r == 0)
		r = parse_rewrites(&options, err);
	if (r == 0 && options.dialect_word)
		r = choose_dialect(&options, "", err);
	return r < 0 ? r : check_accepts(&options, err);
}

int init_options_parse(struct init_options *options, int argc, char **argv, struct snap_error *err)
{
	int r = init_options_parse_noted(options, argc, argv, NULL, NULL, err);

	if (r < 0 || only_tells(options))
		return r;
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
	options_print(init_options_table, out);
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
