/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/rights.h"
#include "common/procfs.h"

#include "tests/lib/test.h"

#define DOCKER_AND_CR 0x100a80425fbULL /* what `docker run --cap-add CHECKPOINT_RESTORE` gives */

static void test_docker_is_its_default_set_and_checkpoint_restore(void **state)
{
	(void)state;
	assert_true(rights_mask(RIGHTS_DOCKER, UINT64_MAX) == DOCKER_AND_CR);
}

static void test_k8s_equals_docker(void **state)
{
	(void)state;
	assert_true(rights_mask(RIGHTS_K8S, UINT64_MAX) == rights_mask(RIGHTS_DOCKER, UINT64_MAX));
}

static void test_full_is_what_is_held(void **state)
{
	(void)state;
	assert_true(rights_mask(RIGHTS_FULL, 0x123) == 0x123);
	assert_true(rights_missing(RIGHTS_FULL, 0) == 0);
}

static void test_no_set_gives_what_is_not_held(void **state)
{
	uint64_t held = DOCKER_AND_CR & ~(1ULL << CAP_KILL);

	(void)state;
	assert_true(rights_mask(RIGHTS_DOCKER, held) == held);
	assert_true(rights_missing(RIGHTS_DOCKER, held) == 1ULL << CAP_KILL);
}

static void test_names_go_both_ways(void **state)
{
	static const char *const words[] = {"docker", "k8s", "full"};
	enum rights_set set;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(rights_parse(words[i], "--for", &set, NULL), 0);
		assert_string_equal(rights_name(set), words[i]);
	}
}

static void test_unknown_set_is_a_usage_error_that_names_it(void **state)
{
	struct snap_error err = {.code = SNAP_OK};
	enum rights_set set;

	(void)state;
	assert_true(rights_parse("podman", "--for", &set, &err) < 0);
	assert_int_equal(err.code, SNAP_E_USAGE);
	assert_non_null(strstr(err.msg, "--for: 'podman'"));
}

static void test_mask_is_told_by_names(void **state)
{
	char text[RIGHTS_TEXT_MAX];

	(void)state;
	rights_format(1ULL << CAP_KILL | 1ULL << CAP_CHOWN, text, sizeof(text));
	assert_string_equal(text, "cap_chown,cap_kill");
	rights_format(0, text, sizeof(text));
	assert_string_equal(text, "none");
}

static void test_small_buffer_is_never_overrun(void **state)
{
	char text[16] = "";

	(void)state;
	memset(text, 'x', sizeof(text));
	rights_format(UINT64_MAX, text, 12);
	assert_non_null(memchr(text, '\0', 12));
	assert_true(text[12] == 'x');
}

static uint64_t read_mask(const char *key)
{
	char text[64];

	if (procfs_status_field(getpid(), key, text, sizeof(text)) < 0)
		_exit(9);
	return strtoull(text, NULL, 16);
}

/* in a child, because there is no way back; a user namespace gives all rights to anybody */
static void test_limited_thread_holds_the_mask_and_no_more(void **state)
{
	const uint64_t mask = 1ULL << CAP_KILL | 1ULL << CAP_CHECKPOINT_RESTORE;
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (geteuid() != 0 && unshare(CLONE_NEWUSER) < 0)
			_exit(77);
		if (rights_limit(mask, NULL) < 0)
			_exit(1);
		if (read_mask("CapEff") != mask || read_mask("CapPrm") != mask)
			_exit(2);
		if (read_mask("CapBnd") != mask)
			_exit(3);
		_exit(read_mask("CapInh") != 0 || read_mask("CapAmb") != 0 ? 4 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		(void)printf("SKIP: neither root nor user namespaces\n");
		skip();
	}
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_docker_is_its_default_set_and_checkpoint_restore),
		cmocka_unit_test(test_k8s_equals_docker),
		cmocka_unit_test(test_full_is_what_is_held),
		cmocka_unit_test(test_no_set_gives_what_is_not_held),
		cmocka_unit_test(test_names_go_both_ways),
		cmocka_unit_test(test_unknown_set_is_a_usage_error_that_names_it),
		cmocka_unit_test(test_mask_is_told_by_names),
		cmocka_unit_test(test_small_buffer_is_never_overrun),
		cmocka_unit_test(test_limited_thread_holds_the_mask_and_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
