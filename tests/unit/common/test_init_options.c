/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/init_options.h"

#include "tests/lib/test.h"

#define W(text) ((char *)(uintptr_t)(text))

static struct init_options options;
static struct snap_error err;

static int parse(char **words)
{
	int argc = 0;

	while (words[argc])
		argc++;
	return init_options_parse(&options, argc, words, &err);
}

#define PARSE(...)	    parse((char *[]){W("snapinit"), __VA_ARGS__, NULL})
#define PARSE_AS(name, ...) parse((char *[]){W(name), __VA_ARGS__, NULL})

static void test_defaults(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("cmd"), W("-x")), 0);
	assert_string_equal(options.argv[0], "cmd");
	assert_string_equal(options.argv[1], "-x");
	assert_null(options.argv[2]);
	assert_null(options.snapshot);
	assert_int_equal(options.grace_ms, 0); /* as tini: the platform ends it */
	assert_int_equal(options.capture, CAPTURE_NEVER);
	assert_int_equal(options.capture_timeout_ms, 600000);
	assert_int_equal(options.wake_timeout_ms, 0);
	assert_int_equal(options.pid_base, 1000);
	assert_int_equal(options.notify_fd, 3);
	assert_int_equal(options.ready_kind, READY_BY_WORKER);
	assert_false(options.fallback_none || options.exit_when_ready || options.kill_group);
}

static void test_plain_mode_is_quieter(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_WARN);
	assert_int_equal(PARSE(W("-v"), W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_INFO);
	assert_int_equal(PARSE(W("-vvvvvvvv"), W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_DEBUG);
	assert_int_equal(PARSE(W("--snapshot"), W("/s"), W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_INFO);
	assert_int_equal(PARSE(W("--snapshot=/s"), W("--log-level=error"), W("cmd")), 0);
	assert_int_equal(options.log_level, LOG_LEVEL_ERROR);
}

static void test_words_are_understood(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("--snapshot=/s"), W("--capture=first-boot"), W("--fallback=none"),
			       W("--ready=fd"), W("--log-format=json"), W("cmd")),
			 0);
	assert_int_equal(options.capture, CAPTURE_FIRST_BOOT);
	assert_true(options.fallback_none);
	assert_int_equal(options.ready_kind, READY_FD);
	assert_int_equal(options.log_format, LOG_FORMAT_JSON);
	assert_int_equal(
		PARSE(W("--snapshot=/s"), W("--capture=exit"), W("--ready=notify"), W("cmd")), 0);
	assert_int_equal(options.capture, CAPTURE_EXIT);
	assert_int_equal(options.ready_kind, READY_NOTIFY);
}

static void test_nonsense_is_refused_in_one_line(void **state)
{
	static const char *const bad[][2] = {
		{"--capture=maybe", "--capture"},
		{"--fallback=warm", "--fallback"},
		{"--log-level=loud", "--log-level"},
		{"--log-format=xml", "--log-format"},
		{"--pid-base=1", "--pid-base"},
		{"--pid-base=9999999", "--pid-base"},
		{"--notify-fd=2", "--notify-fd"},
		{"--capture=exit", "needs --snapshot"},
		{"--exit-when-ready", "needs --snapshot"},
		{"--fallback=none", "needs --snapshot"},
		{"--", "no command"},
		{"--rewrite=15", "--rewrite"},
		{"--rewrite=TERM:NONE", "--rewrite"},
		{"--remap-exit=256", "--remap-exit"},
		{"--remap-exit=x", "--remap-exit"},
		{"--parent-death-signal=NONE", "--parent-death-signal"},
		{"--stop-signal=0", "--stop-signal"},
		{"--docker-init-compat=systemd", "--docker-init-compat"},
		{"--pause", "takes no command"},
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		char *command = strcmp(bad[i][0], "--") == 0 ? NULL : W("cmd");

		assert_int_equal(PARSE(W(bad[i][0]), command), -EINVAL);
		assert_int_equal(err.code, SNAP_E_USAGE);
		assert_non_null(strstr(err.msg, bad[i][1]));
		assert_null(strchr(err.msg, '\n'));
	}
}

static void test_help_and_version_need_no_command(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("--help")), 0);
	assert_true(options.help);
	assert_int_equal(setenv("SNAPINIT_CAPTURE", "maybe", 1), 0);
	assert_int_equal(PARSE(W("--version")), 0);
	assert_true(options.version);
	assert_int_equal(unsetenv("SNAPINIT_CAPTURE"), 0);
}

static void test_environment_counts(void **state)
{
	(void)state;
	assert_int_equal(setenv("SNAPINIT_SNAPSHOT", "/from/env", 1), 0);
	assert_int_equal(setenv("SNAPINIT_KILL_GROUP", "1", 1), 0);
	assert_int_equal(PARSE(W("cmd")), 0);
	assert_string_equal(options.snapshot, "/from/env");
	assert_true(options.kill_group);
	assert_int_equal(unsetenv("SNAPINIT_SNAPSHOT"), 0);
	assert_int_equal(unsetenv("SNAPINIT_KILL_GROUP"), 0);
}

static char config_path[] = "/tmp/snap_init_options_XXXXXX";

static void write_config(const char *text)
{
	int fd = open(config_path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
	assert_int_equal(setenv("SNAPINIT_CONFIG", config_path, 1), 0);
}

static int forget_config(void **state)
{
	(void)state;
	(void)unsetenv("SNAPINIT_GRACE");
	(void)unsetenv("SNAPINIT_FILLER");
	return setenv("SNAPINIT_CONFIG", "none", 1);
}

static void test_flag_beats_environment_beats_file_beats_default(void **state)
{
	(void)state;
	write_config("grace = 1s\npid-base = 2000\nfiller = ring\ninclude = /a\ninclude = /b\n"
		     "kill-group = yes\ncapture = first-boot\nsnapshot = /s\n");
	assert_int_equal(setenv("SNAPINIT_GRACE", "2s", 1), 0);
	assert_int_equal(setenv("SNAPINIT_FILLER", "writev", 1), 0);
	assert_int_equal(PARSE(W("--grace=3s"), W("--include=/c"), W("cmd")), 0);
	assert_int_equal(options.grace_ms, 3000);
	assert_string_equal(options.pages.words[PAGE_OPTION_FILLER], "writev");
	assert_int_equal(options.pid_base, 2000);
	assert_int_equal(options.notify_fd, 3);
	assert_int_equal(options.capture, CAPTURE_FIRST_BOOT);
	assert_true(options.kill_group);
	assert_int_equal(options.include.n, 3);
	assert_int_equal(PARSE(W("--config=none"), W("cmd")), 0);
	assert_int_equal(options.pid_base, 1000);
	assert_null(options.snapshot);
}

static void test_empty_snapshot_is_none(void **state)
{
	(void)state;
	write_config("snapshot = /s\n");
	assert_int_equal(PARSE(W("--snapshot="), W("cmd")), 0);
	assert_null(options.snapshot);
	assert_int_equal(options.log_level, LOG_LEVEL_WARN);
}

static void test_mistakes_in_the_file_are_told_by_line(void **state)
{
	static const char *const bad[][2] = {
		{"grace = 1s\nnope = 1\n", ":2: unknown key 'nope'"},
		{"grace = 1s\ngrave = 2s\n", ":2: unknown key 'grave' (did you mean 'grace'?)"},
		{"grace = soon\n", ":1: 'soon' is no duration, like 500ms"},
		{"quiet-timeout = soon\n", ":1: 'soon' is no duration, like 500ms"},
		{"warmup = twice\n", ":1: 'twice' is no whole number"},
		{"\nfiller = spoon\n", ":2: 'spoon' is not auto, ring or writev"},
		{"kill-group = maybe\n", ":1: 'maybe' is neither 1 nor 0"},
		{"grace = 1s\n\ngrace = 2s\n", ":3: 'grace' is set in line 1 already"},
		{"exit-when-ready = yes\n", ":1: unknown key"},
		{"config = /x\n", ":1: unknown key"},
		{"verbose = 1\n", ":1: unknown key"},
	};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(bad); i++) {
		write_config(bad[i][0]);
		assert_int_equal(PARSE(W("--grace=1s"), W("cmd")), -EINVAL);
		assert_int_equal(err.code, SNAP_E_USAGE);
		assert_memory_equal(err.msg, config_path, strlen(config_path));
		assert_non_null(strstr(err.msg, bad[i][1]));
		/* what asks for help gets it */
		assert_int_equal(PARSE(W("--help")), 0);
	}
}

/* the twins of --wake-timeout are SNAPINIT_WAKE_TIMEOUT and wake-timeout */
static void test_twins_are_named_after_their_option(void **state)
{
	(void)state;
	for (const struct option_def *def = init_options_table; def->name; def++) {
		char env[64] = "SNAPINIT_";
		size_t n = strlen(env);

		for (const char *p = def->name; *p; p++)
			env[n++] = (char)(*p == '-' ? '_' : *p - 'a' + 'A');
		env[n] = '\0';
		if (def->env)
			assert_string_equal(def->env, env);
		if (def->key)
			assert_string_equal(def->key, def->name);
		/* for one start only, or no setting at all */
		if (strcmp(def->name, "exit-when-ready") != 0 && strcmp(def->name, "config") != 0)
			assert_int_equal(!def->env, !def->key);
		assert_true(def->type != OPTION_CHOICE || def->words);
		assert_non_null(def->help);
	}
}

static int make_config(void **state)
{
	int fd = mkstemp(config_path);

	return fd < 0 || close(fd) < 0 ? -1 : forget_config(state);
}

static int remove_config(void **state)
{
	(void)state;
	return unlink(config_path);
}

static void test_help_tells_exit_statuses_and_twins(void **state)
{
	snap_cleanup_free char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	init_options_print_help(out);
	init_options_print_version(out);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "222 no wake"));
	assert_non_null(strstr(text, "[SNAPINIT_WAKE_TIMEOUT]"));
	assert_non_null(strstr(text, "snapinit " SNAP_VERSION "\n+wake"));
}

static void test_letters_of_the_others_are_ours(void **state)
{
	(void)state;
	assert_int_equal(PARSE(W("-sgvvw"), W("-p"), W("SIGTERM"), W("-e"), W("143"), W("-e0"),
			       W("-r"), W("15:3"), W("--rewrite"), W("HUP:0"), W("cmd")),
			 0);
	assert_true(options.subreaper && options.kill_group && options.warn_on_reap);
	assert_int_equal(options.parent_death_signal, SIGTERM);
	assert_true(option_set_has(&options.remap_exit, 143) &&
		    option_set_has(&options.remap_exit, 0));
	assert_int_equal(signal_map_get(&options.rewrite, SIGTERM), SIGQUIT);
	assert_int_equal(signal_map_get(&options.rewrite, SIGHUP), 0);
	assert_int_equal(options.dialect, DIALECT_NONE);
	assert_int_equal(PARSE(W("-gc"), W("cmd")), 0);
	assert_false(options.kill_group);
	assert_int_equal(PARSE(W("-P")), 0);
	assert_true(options.pause);
	assert_int_equal(PARSE(W("-P"), W("--snapshot=/s")), -EINVAL);
	assert_int_equal(PARSE(W("-V")), 0);
	assert_true(options.version);
	assert_int_equal(PARSE(W("-L")), 0);
	assert_true(options.license);
}

static void test_dialect_sets_what_holds_without_options(void **state)
{
	(void)state;
	assert_int_equal(PARSE_AS("/usr/bin/dumb-init", W("cmd")), 0);
	assert_true(options.own_session && options.kill_group && options.job_control);
	assert_int_equal(signal_map_get(&options.rewrite, SIGTSTP), SIGSTOP);
	assert_int_equal(PARSE_AS("/usr/bin/dumb-init", W("-r"), W("20:20"), W("cmd")), 0);
	assert_int_equal(signal_map_get(&options.rewrite, SIGTSTP), SIGTSTP);
	assert_int_equal(PARSE_AS("/usr/bin/dumb-init", W("--single-child"), W("cmd")), 0);
	assert_false(options.own_session || options.kill_group);
	assert_int_equal(signal_map_get(&options.rewrite, SIGTSTP), SIGTSTP);

	assert_int_equal(PARSE_AS("/tini", W("cmd")), 0);
	assert_false(options.own_session || options.kill_group || options.job_control);
	assert_int_equal(PARSE_AS("/tini", W("--docker-init-compat=dumb-init"), W("cmd")), 0);
	assert_int_equal(options.dialect, DIALECT_DUMB_INIT);
	assert_int_equal(PARSE_AS("/tini", W("--docker-init-compat=none"), W("cmd")), 0);
	assert_int_equal(options.dialect, DIALECT_NONE);
	assert_int_equal(PARSE(W("--docker-init-compat"), W("cmd")), 0);
	assert_int_equal(options.dialect, DIALECT_TINI);
	/* known also where the rest is nonsense: it decides the exit status */
	assert_int_equal(PARSE_AS("/tini", W("--nonsense"), W("cmd")), -EINVAL);
	assert_int_equal(options.dialect, DIALECT_TINI);
}

static void test_dashes_behind_the_program_are_tinis(void **state)
{
	(void)state;
	assert_int_equal(PARSE_AS("tini", W("cmd"), W("--"), W("-x"), W("--"), W("y")), 0);
	assert_string_equal(options.argv[0], "cmd");
	assert_string_equal(options.argv[1], "-x");
	assert_string_equal(options.argv[2], "--");
	/* only the first is the init's */
	assert_int_equal(PARSE_AS("tini", W("--"), W("cmd"), W("--")), 0);
	assert_string_equal(options.argv[1], "--");
	assert_int_equal(PARSE_AS("tini", W("-g"), W("--"), W("cmd"), W("--")), 0);
	assert_string_equal(options.argv[1], "--");
	assert_int_equal(PARSE_AS("dumb-init", W("cmd"), W("--")), 0);
	assert_string_equal(options.argv[1], "--");
	assert_int_equal(PARSE(W("cmd"), W("--")), 0);
	assert_string_equal(options.argv[1], "--");
	assert_int_equal(PARSE_AS("catatonit", W("-P"), W("ignored")), 0);
}

static void with_env(const char *name, const char *value, const char *program)
{
	assert_int_equal(setenv(name, value, 1), 0);
	assert_int_equal(parse((char *[]){W(program), W("cmd"), NULL}), 0);
	assert_int_equal(unsetenv(name), 0);
}

static void test_environment_of_the_others_counts(void **state)
{
	static const struct {
		const char *value;
		enum log_level level;
	} levels[] = {{"0", LOG_LEVEL_ERROR}, {"1", LOG_LEVEL_WARN},  {"2", LOG_LEVEL_INFO},
		      {"3", LOG_LEVEL_DEBUG}, {"4", LOG_LEVEL_DEBUG}, {"x", LOG_LEVEL_ERROR},
		      {"-1", LOG_LEVEL_ERROR}};

	(void)state;
	for (unsigned int i = 0; i < ARRAY_LEN(levels); i++) {
		with_env("TINI_VERBOSITY", levels[i].value, "snapinit");
		assert_int_equal(options.log_level, levels[i].level);
	}
	with_env("TINI_SUBREAPER", "", "snapinit");
	assert_true(options.subreaper);
	with_env("TINI_KILL_PROCESS_GROUP", "0", "snapinit");
	assert_true(options.kill_group);
	with_env("DUMB_INIT_SETSID", "0", "dumb-init");
	assert_false(options.own_session || options.kill_group);
	with_env("DUMB_INIT_SETSID", "1", "dumb-init");
	assert_true(options.own_session && options.kill_group);
	with_env("DUMB_INIT_DEBUG", "1", "snapinit");
	assert_int_equal(options.log_level, LOG_LEVEL_DEBUG);
	with_env("DUMB_INIT_DEBUG", "2", "dumb-init");
	assert_int_equal(options.log_level, LOG_LEVEL_WARN);
	with_env("CATATONIT_DEBUG", "", "catatonit");
	assert_int_equal(options.log_level, LOG_LEVEL_DEBUG);
	with_env("SNAPINIT_REWRITE", "TERM:QUIT,HUP:0", "snapinit");
	assert_int_equal(signal_map_get(&options.rewrite, SIGHUP), 0);
	with_env("SNAPINIT_DOCKER_INIT_COMPAT", "dumb-init", "snapinit");
	assert_true(options.own_session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_plain_mode_is_quieter),
		cmocka_unit_test(test_words_are_understood),
		cmocka_unit_test(test_nonsense_is_refused_in_one_line),
		cmocka_unit_test(test_help_and_version_need_no_command),
		cmocka_unit_test(test_environment_counts),
		cmocka_unit_test(test_letters_of_the_others_are_ours),
		cmocka_unit_test(test_dialect_sets_what_holds_without_options),
		cmocka_unit_test(test_dashes_behind_the_program_are_tinis),
		cmocka_unit_test(test_environment_of_the_others_counts),
		cmocka_unit_test_teardown(test_flag_beats_environment_beats_file_beats_default,
					  forget_config),
		cmocka_unit_test_teardown(test_empty_snapshot_is_none, forget_config),
		cmocka_unit_test_teardown(test_mistakes_in_the_file_are_told_by_line,
					  forget_config),
		cmocka_unit_test(test_twins_are_named_after_their_option),
		cmocka_unit_test(test_help_tells_exit_statuses_and_twins),
	};

	return cmocka_run_group_tests(tests, make_config, remove_config);
}
