/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/config_file.h"
#include "common/user_namespace.h"

#include "tests/lib/test.h"

static struct config_file config;
static struct snap_error err;
static char folder[] = "/tmp/snap_config_XXXXXX";

static int parse(const char *text)
{
	size_t size = strlen(text);

	assert_true(size <= CONFIG_SIZE_MAX);
	(void)snprintf(config.path, sizeof(config.path), "the file");
	memcpy(config.text, text, size);
	return config_file_parse(&config, size, &err);
}

static void test_lines_are_keys_and_values(void **state)
{
	(void)state;
	assert_int_equal(parse("# a comment\n"
			       "\n"
			       "grace = 10s\n"
			       "  ready=http://127.0.0.1:80/x#y \t\n"
			       "\t# another\n"
			       "oracle = POST http://h/ {\"a\": 1}"),
			 0);
	assert_int_equal(config.n, 3);
	assert_string_equal(config.lines[0].key, "grace");
	assert_string_equal(config.lines[0].value, "10s");
	assert_int_equal(config.lines[0].number, 3);
	assert_string_equal(config.lines[1].value, "http://127.0.0.1:80/x#y");
	assert_int_equal(config.lines[1].number, 4);
	assert_string_equal(config.lines[2].value, "POST http://h/ {\"a\": 1}");
	assert_int_equal(config.lines[2].number, 6);
	assert_int_equal(parse(""), 0);
	assert_int_equal(config.n, 0);
}

static void test_mistakes_are_told_by_their_line(void **state)
{
	static const char *const bad[][2] = {
		{"a = 1\ngrace\n", "the file:2: neither 'key = value' nor a comment"},
		{"= 1\n", "the file:1: neither"},
		{"Grace = 1\n", "the file:1: neither"},
		{"two words = 1\n", "the file:1: neither"},
		{"\n\ngrace =  \n", "the file:3: no value behind '='"},
		{"grace = 1\r\n", "the file:1: a control character"},
		{"# \x1b[2J\n", "the file:1: a control character"},
		{"# \xc2\x9b"
		 "2J\n",
		 "the file:1: a control character"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		assert_int_equal(parse(bad[i][0]), -EINVAL);
		assert_int_equal(err.code, SNAP_E_USAGE);
		assert_memory_equal(err.msg, bad[i][1], strlen(bad[i][1]));
	}
}

static void test_number_of_settings_is_bounded(void **state)
{
	char text[8 * (CONFIG_LINES_MAX + 1)];
	size_t used = 0;

	(void)state;
	for (unsigned int i = 0; i < CONFIG_LINES_MAX; i++)
		used += (size_t)sprintf(text + used, "a = 1\n");
	assert_int_equal(parse(text), 0);
	assert_int_equal(config.n, CONFIG_LINES_MAX);
	(void)sprintf(text + used, "a = 1\n");
	assert_int_equal(parse(text), -EINVAL);
	assert_non_null(strstr(err.msg, ":257: too many settings"));
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static void test_chosen_file_must_be_there_but_none_is_none(void **state)
{
	(void)state;
	write_file("good", "grace = 1s\n", 0644);
	assert_int_equal(config_file_load(&config, "good", &err), 0);
	assert_int_equal(config.n, 1);
	assert_string_equal(config.path, "good");
	assert_int_equal(config_file_load(&config, "none", &err), 0);
	assert_int_equal(config.n, 0);
	assert_int_equal(config_file_load(&config, "absent", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "there is no configuration file 'absent'"));
}

static void test_first_place_that_is_there_counts(void **state)
{
	static const char *const places[] = {"absent", "good/below", "second", "first", NULL};
	static const char *const nowhere[] = {"absent", NULL};

	(void)state;
	write_file("good", "grace = 1s\n", 0644);
	write_file("first", "grace = 2s\n", 0644);
	write_file("second", "grace = 3s\n", 0644);
	assert_int_equal(config_file_load_first(&config, places, &err), 0);
	assert_string_equal(config.path, "second");
	assert_string_equal(config.lines[0].value, "3s");
	assert_int_equal(config_file_load_first(&config, nowhere, &err), 0);
	assert_int_equal(config.n, 0);
	assert_string_equal(config.path, "");
}

static void refused(const char *name, const char *why)
{
	const char *const places[] = {name, NULL};

	assert_int_equal(config_file_load(&config, name, &err), -EINVAL);
	assert_int_equal(err.code, SNAP_E_USAGE);
	assert_non_null(strstr(err.msg, name));
	assert_non_null(strstr(err.msg, why));
	/* well-known or not: it is there and cannot be used, so it is not passed over */
	assert_int_equal(config_file_load_first(&config, places, &err), -EINVAL);
}

static void test_what_cannot_be_trusted_is_refused(void **state)
{
	char big[CONFIG_SIZE_MAX + 2];

	(void)state;
	write_file("good", "grace = 1s\n", 0644);
	assert_int_equal(symlink("good", "link"), 0);
	refused("link", "symbolic link");
	assert_int_equal(mkfifo("fifo", 0600), 0);
	refused("fifo", "no regular file");
	assert_int_equal(mkdir("folder", 0700), 0);
	refused("folder", "no regular file");
	memset(big, '#', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	write_file("big", big, 0600);
	refused("big", "more than 16384 bytes");
	if (geteuid() == 0) {
		write_file("open", "grace = 1s\n", 0646);
		refused("open", "may be written by everybody");
	}
}

static void test_root_obeys_nobody_elses_file(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	write_file("owned", "grace = 1s\n", 0644);
	assert_int_equal(chown("owned", 4711, 0), 0);
	refused("owned", "owned by uid 4711");
	assert_int_equal(chown("owned", USER_NAMESPACE_OVERFLOW_UID, 0), 0);
	refused("owned", "owned by uid 65534");
	assert_int_equal(chown("owned", 0, 4711), 0);
	assert_int_equal(config_file_load(&config, "owned", &err), 0);
	assert_int_equal(chmod("owned", 0664), 0);
	refused("owned", "written by group 4711: chmod g-w");
	/* root's group is root; images have such files */
	assert_int_equal(chown("owned", 0, 0), 0);
	assert_int_equal(config_file_load(&config, "owned", &err), 0);
	/* who is not root goes by what they are given */
	assert_int_equal(chown("owned", 4711, 4711), 0);
	assert_int_equal(chmod(".", 0755), 0);
	assert_int_equal(seteuid(4712), 0);
	assert_int_equal(config_file_load(&config, "owned", &err), 0);
	assert_int_equal(seteuid(0), 0);
}

/* 0: the file was taken, 1: refused, 2: there can be no such namespace; `map` is its uid_map */
static int load_in_namespace(const char *name, const char *map)
{
	int ends[2], status, fd;
	char path[64];
	pid_t pid;

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char byte = 'u';

		if (unshare(CLONE_NEWUSER) < 0)
			_exit(2);
		(void)kill(getpid(), SIGSTOP);
		(void)read(ends[0], &byte, 1);
		_exit(setresuid(0, 0, 0) < 0 || byte != 'm'	   ? 2
		      : config_file_load(&config, name, &err) == 0 ? 0
								   : 1);
	}
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	if (!WIFSTOPPED(status))
		return WEXITSTATUS(status);
	(void)snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)pid);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, map, strlen(map)), (ssize_t)strlen(map));
	assert_int_equal(close(fd), 0);
	assert_int_equal(kill(pid, SIGCONT), 0);
	assert_int_equal(write(ends[1], "m", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(ends[0]);
	(void)close(ends[1]);
	return WEXITSTATUS(status);
}

static void test_unmapped_owner_is_taken_where_nobody_is_nobody(void **state)
{
	int r;

	(void)state;
	if (geteuid() != 0)
		skip();
	write_file("owned", "grace = 1s\n", 0644);
	assert_int_equal(chmod(".", 0755), 0);
	/* root of the namespace is 4712; the host's root is not there */
	assert_int_equal(chown("owned", 0, 0), 0);
	r = load_in_namespace("owned", "0 4712 1\n");
	if (r == 2) {
		print_message("SKIP: no user namespaces here\n");
		skip();
	}
	assert_int_equal(r, 0);
	/* one that exists in there could be the engine's user */
	assert_int_equal(chown("owned", 4713, 0), 0);
	assert_int_equal(load_in_namespace("owned", "0 4712 2\n"), 1);
	/* 65534 exists in there: it may be that one's file */
	assert_int_equal(chown("owned", 0, 0), 0);
	assert_int_equal(load_in_namespace("owned", "0 4712 65536\n"), 1);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
	static const char *const names[] = {"good", "first", "second", "link",
					    "fifo", "big",   "open",   "owned"};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlink(names[i]);
	(void)rmdir("folder");
	return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_are_keys_and_values),
		cmocka_unit_test(test_mistakes_are_told_by_their_line),
		cmocka_unit_test(test_number_of_settings_is_bounded),
		cmocka_unit_test(test_chosen_file_must_be_there_but_none_is_none),
		cmocka_unit_test(test_first_place_that_is_there_counts),
		cmocka_unit_test(test_what_cannot_be_trusted_is_refused),
		cmocka_unit_test(test_root_obeys_nobody_elses_file),
		cmocka_unit_test(test_unmapped_owner_is_taken_where_nobody_is_nobody),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
