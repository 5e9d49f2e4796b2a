/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/user_namespace.h"

#include "tests/lib/test.h"

#define STATUS_NO_NAMESPACE 77

static uid_t outer_uid;
static gid_t outer_gid;

/* run() as uid 1000 (or as who we are) in a user namespace that it has just made; its status */
static int in_namespace(int (*run)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (getuid() == 0 &&
		    (setresgid(1000, 1000, 1000) < 0 || setresuid(1000, 1000, 1000) < 0))
			_exit(1);
		/* a program that was executed as this user has its /proc/self */
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		outer_uid = geteuid();
		outer_gid = getegid();
		if (unshare(CLONE_NEWUSER) < 0)
			_exit(STATUS_NO_NAMESPACE);
		_exit(run());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int become_root(void)
{
	if (getuid() == 0 || user_namespace_map_root(outer_uid, outer_gid) < 0)
		return 1;
	return getuid() == 0 && geteuid() == 0 && getgid() == 0 && getegid() == 0 ? 0 : 2;
}

static int map_another_user(void)
{
	return user_namespace_map_root(outer_uid + 1, outer_gid) == -EPERM && getuid() != 0 ? 0 : 1;
}

static void test_maker_is_root(void **state)
{
	int status = in_namespace(become_root);

	(void)state;
	if (status == STATUS_NO_NAMESPACE) {
		print_message("SKIP: no user namespaces here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

static void test_nobody_else_can_be(void **state)
{
	int status = in_namespace(map_another_user);

	(void)state;
	if (status == STATUS_NO_NAMESPACE) {
		print_message("SKIP: no user namespaces here\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_maker_is_root),
		cmocka_unit_test(test_nobody_else_can_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
