/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/io.h"

#include "tests/lib/test.h"

/*
 * A bundle of links in a folder of its own: the launcher's copies start this machine's echo and
 * grep through this machine's ld.so.
 */

#define LDSO_HERE "/lib64/ld-linux-x86-64.so.2"
#define CAPS                                                                      \
	((UINT64_C(1) << CAP_CHECKPOINT_RESTORE) | (UINT64_C(1) << CAP_SETPCAP) | \
	 (UINT64_C(1) << CAP_SYS_PTRACE))

/* in a folder with a blank, since nothing promises that there is none */
static char top[] = "/tmp/snap launcher-XXXXXX";
static char output[8192];

static const char *path_of(const char *rest)
{
	static char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", top, rest);
	return path;
}

static void copy_launcher(const char *rest)
{
	snap_cleanup_close int from = open(SNAP_LAUNCHER, O_RDONLY | O_CLOEXEC);
	snap_cleanup_close int to =
		open(path_of(rest), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_true(from >= 0 && to >= 0);
	assert_int_equal(io_copy_fd(from, to, UINT64_MAX, NULL), 0);
}

static int make_bundle(void **state)
{
	static const char *const folders[] = {"bin", "lib", "lib/snapinit", "libexec",
					      "libexec/snapinit"};

	(void)state;
	assert_non_null(mkdtemp(top));
	assert_int_equal(chmod(top, 0755), 0);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		assert_int_equal(mkdir(path_of(folders[i]), 0755), 0);
	copy_launcher("bin/echo");
	copy_launcher("bin/absent");
	copy_launcher("libexec/snapinit/grep");
	copy_launcher("elsewhere");
	assert_int_equal(symlink(LDSO_HERE, path_of("lib/ld-linux-x86-64.so.2")), 0);
	assert_int_equal(symlink("/bin/echo", path_of("lib/snapinit/echo")), 0);
	assert_int_equal(symlink("/bin/grep", path_of("lib/snapinit/grep")), 0);
	return 0;
}

static int remove_bundle(void **state)
{
	static const char *const names[] = {
		"bin/echo",
		"bin/absent",
		"libexec/snapinit/grep",
		"elsewhere",
		"lib/snapinit/echo",
		"lib/snapinit/grep",
		"lib/snapinit",
		"lib/ld-linux-x86-64.so.2",
		"lib",
		"libexec/snapinit",
		"libexec",
		"bin",
		"",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)remove(path_of(names[i]));
	return 0;
}

/* run as this user; both outputs go to output[]; the exit status, 128 + signal */
static int run(const char *rest, const char *const *argv, uid_t uid, bool no_new_privs)
{
	int pipe_fds[2], status = -1;
	ssize_t n;
	pid_t pid;

	assert_int_equal(pipe(pipe_fds), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)dup2(pipe_fds[1], 1);
		(void)dup2(pipe_fds[1], 2);
		if (no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
			_exit(99);
		if (uid && (setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0))
			_exit(99);
		(void)execv(path_of(rest), (char *const *)(uintptr_t)argv);
		_exit(98);
	}
	(void)close(pipe_fds[1]);
	n = io_read_full(pipe_fds[0], output, sizeof(output) - 1);
	(void)close(pipe_fds[0]);
	assert_true(n >= 0);
	output[n] = '\0';
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void test_program_gets_its_arguments_and_name(void **state)
{
	const char *const argv[] = {"echo", "--library-path", "a  b", "", NULL};
	const char *const name[] = {"called-so", "x", "/nonexistent", NULL};

	(void)state;
	assert_int_equal(run("bin/echo", argv, 0, false), 0);
	assert_string_equal(output, "--library-path a  b \n");
	assert_int_equal(run("libexec/snapinit/grep", name, 0, false), 2);
	assert_string_equal(output, "called-so: /nonexistent: No such file or directory\n");
}

static void test_exit_status_is_the_programs(void **state)
{
	const char *const argv[] = {"grep", "no such text", "/dev/null", NULL};

	(void)state;
	assert_int_equal(run("libexec/snapinit/grep", argv, 0, false), 1);
}

static void test_broken_layouts_are_told_in_a_line_with_status_125(void **state)
{
	const char *const argv[] = {"x", NULL};

	(void)state;
	assert_int_equal(run("elsewhere", argv, 0, false), 125);
	assert_non_null(strstr(output, "is not where a bundle has it"));
	assert_int_equal(run("bin/absent", argv, 0, false), 125);
	assert_non_null(strstr(output, "/lib/snapinit/absent': No such file or directory\n"));

	assert_int_equal(unlink(path_of("lib/ld-linux-x86-64.so.2")), 0);
	assert_int_equal(run("bin/echo", argv, 0, false), 125);
	assert_non_null(strstr(output, "/lib/ld-linux-x86-64.so.2': No such file or directory\n"));
	assert_ptr_equal(strchr(output, '\n'), strrchr(output, '\n'));
	assert_int_equal(symlink(LDSO_HERE, path_of("lib/ld-linux-x86-64.so.2")), 0);
}

/* file capabilities without the effective bit, which some container would refuse to execute */
static void give_capabilities(void)
{
	const struct vfs_cap_data data = {
		.magic_etc = VFS_CAP_REVISION_2,
		.data = {{.permitted = (uint32_t)CAPS}, {.permitted = (uint32_t)(CAPS >> 32)}},
	};

	if (getuid() != 0 || setxattr(path_of("libexec/snapinit/grep"), "security.capability",
				      &data, sizeof(data), 0) < 0) {
		print_message("SKIP: file capabilities cannot be set here\n");
		skip();
	}
}

static uint64_t capability_field(const char *name)
{
	const char *line = strstr(output, name);

	assert_non_null(line);
	return strtoull(line + strlen(name), NULL, 16);
}

static void test_file_capabilities_reach_the_program(void **state)
{
	const char *const argv[] = {"grep", "^Cap", "/proc/self/status", NULL};

	(void)state;
	give_capabilities();
	assert_int_equal(run("libexec/snapinit/grep", argv, 1000, false), 0);
	if ((capability_field("CapBnd:") & CAPS) != CAPS) {
		print_message("SKIP: the bounding set lacks what the file gives\n");
		skip();
	}
	assert_int_equal(capability_field("CapEff:"), CAPS);
	assert_int_equal(capability_field("CapAmb:"), CAPS);
	assert_int_equal(capability_field("CapInh:"), CAPS);
}

static void test_under_no_new_privs_it_goes_on_without(void **state)
{
	const char *const argv[] = {"grep", "^Cap", "/proc/self/status", NULL};

	(void)state;
	give_capabilities();
	assert_int_equal(run("libexec/snapinit/grep", argv, 1000, true), 0);
	assert_int_equal(capability_field("CapPrm:"), 0);
	assert_int_equal(capability_field("CapAmb:"), 0);
}

static void test_loader_variables_of_the_caller_do_not_reach_a_capable_program(void **state)
{
	const char *const argv[] = {"grep", "-c", "LD_PRELOAD", "/proc/self/environ", NULL};

	(void)state;
	give_capabilities();
	assert_int_equal(setenv("LD_PRELOAD", "/nonexistent/evil.so", 1), 0);
	(void)run("libexec/snapinit/grep", argv, 1000, false);
	(void)unsetenv("LD_PRELOAD");
	assert_string_equal(output, "0\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_program_gets_its_arguments_and_name),
		cmocka_unit_test(test_exit_status_is_the_programs),
		cmocka_unit_test(test_broken_layouts_are_told_in_a_line_with_status_125),
		cmocka_unit_test(test_file_capabilities_reach_the_program),
		cmocka_unit_test(test_under_no_new_privs_it_goes_on_without),
		cmocka_unit_test(
			test_loader_variables_of_the_caller_do_not_reach_a_capable_program),
	};

	return cmocka_run_group_tests(tests, make_bundle, remove_bundle);
}
