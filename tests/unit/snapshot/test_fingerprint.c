/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "snapshot/fingerprint.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#ifndef CAP_CHECKPOINT_RESTORE
#	define CAP_CHECKPOINT_RESTORE 40
#endif

#define BIT(cap) (1ULL << (cap))

/* what a child does to itself before it takes its fingerprint */
struct rights {
	uint64_t keep; /* capabilities */
	bool filter;
	bool no_new_privs;
	const char *want; /* setting */
};

static int keep_caps(uint64_t keep)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		data[i].effective &= (uint32_t)(keep >> (32 * i));
		data[i].permitted = data[i].effective;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

static int install_filter(void)
{
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = {.len = 1, .filter = &allow};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

static int take_with(void *arg)
{
	const struct rights *rights = arg;
	struct fingerprint f;

	if (rights->filter && install_filter() < 0)
		return 10;
	if (rights->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return 11;
	if (keep_caps(rights->keep) < 0)
		return 12;
	if (fingerprint_take("4.2.1", "00ff", &f, NULL) < 0)
		return 13;
	if (strcmp(f.setting, rights->want) != 0) {
		(void)fprintf(stderr, "setting is %s, not %s\n", f.setting, rights->want);
		return 1;
	}
	if (f.seccomp_filter != rights->filter)
		return 2;
	if (f.no_new_privs != (rights->no_new_privs || rights->filter))
		return 3;
	if ((f.caps_effective & ~rights->keep) != 0)
		return 4;
	fingerprint_done(&f);
	return 0;
}

#define FULL                                                                                 \
	(BIT(CAP_SYS_ADMIN) | BIT(CAP_NET_ADMIN) | BIT(CAP_SYS_PTRACE) | BIT(CAP_SYS_TIME) | \
	 BIT(CAP_SETPCAP) | BIT(CAP_CHECKPOINT_RESTORE))
#define DOCKER (BIT(CAP_SETPCAP) | BIT(CAP_CHOWN) | BIT(CAP_SETUID) | BIT(CAP_KILL))

static bool is_full_root(void)
{
	struct rights all = {.keep = UINT64_MAX, .want = "A"};

	return sandbox_run(0, take_with, &all) == 0;
}

static void test_setting_follows_rights_and_filter(void **state)
{
	struct rights cases[] = {
		{.keep = UINT64_MAX, .want = "A"},
		{.keep = FULL, .want = "A"},
		{.keep = FULL & ~BIT(CAP_CHECKPOINT_RESTORE), .want = "A"},
		{.keep = FULL & ~BIT(CAP_NET_ADMIN), .want = "B"},
		{.keep = FULL & ~BIT(CAP_SYS_PTRACE), .want = "B"},
		{.keep = FULL & ~BIT(CAP_SYS_TIME), .want = "B"},
		{.keep = FULL & ~BIT(CAP_SETPCAP), .want = "none"},
		{.keep = FULL, .filter = true, .want = "C"},
		{.keep = DOCKER | BIT(CAP_CHECKPOINT_RESTORE), .want = "B"},
		{.keep = DOCKER | BIT(CAP_CHECKPOINT_RESTORE), .filter = true, .want = "C"},
		{.keep = DOCKER | BIT(CAP_CHECKPOINT_RESTORE), .no_new_privs = true, .want = "B"},
		{.keep = BIT(CAP_CHECKPOINT_RESTORE), .want = "none"},
		{.keep = DOCKER, .want = "none"},
		{.keep = DOCKER, .filter = true, .want = "none"},
		{.keep = 0, .want = "none"},
	};

	(void)state;
	if (!is_full_root()) {
		print_message("SKIP: needs root with all capabilities and no seccomp filter\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = sandbox_run(0, take_with, &cases[i]);

		if (r != 0)
			fail_msg("case %zu: %d", i, r);
	}
}

static int take_in_user_namespace(void *arg)
{
	struct rights all = {.keep = UINT64_MAX, .want = "B"};
	char map[32];
	int n = snprintf(map, sizeof(map), "0 %u 1", geteuid());
	int fd;

	(void)arg;
	if (unshare(CLONE_NEWUSER) < 0)
		return 77;
	fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, map, (size_t)n) != n)
		return 77;
	(void)close(fd);
	return take_with(&all);
}

static void test_all_rights_in_a_user_namespace_are_not_setting_a(void **state)
{
	int r = sandbox_run(0, take_in_user_namespace, NULL);

	(void)state;
	if (r == 77) {
		print_message("SKIP: no user namespaces here\n");
		skip();
	}
	assert_int_equal(r, 0);
}

static int take_as_user(void *arg)
{
	struct rights none = {.keep = UINT64_MAX, .want = "none"};

	(void)arg;
	return take_with(&none);
}

static void test_plain_user_has_no_rights(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP: needs root to become uid 1000\n");
		skip();
	}
	assert_int_equal(sandbox_run(1000, take_as_user, NULL), 0);
}

static void test_machine_is_described(void **state)
{
	struct fingerprint f;
	struct utsname names;
	struct rlimit limit;

	(void)state;
	assert_int_equal(uname(&names), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(fingerprint_take("4.2.1", "00ff", &f, NULL), 0);
	assert_string_equal(f.machine, names.machine);
	assert_string_equal(f.kernel_release, names.release);
	assert_string_equal(f.kernel_version, names.version);
	assert_string_equal(f.criu_version, "4.2.1");
	assert_string_equal(f.criu_build_id, "00ff");
	assert_int_equal(f.nofile, limit.rlim_cur);
	assert_int_equal(f.page_size, sysconf(_SC_PAGESIZE));
	assert_true(f.cpus >= 1 && f.cpus <= (uint64_t)sysconf(_SC_NPROCESSORS_CONF));
	assert_true(f.memory_limit > 0 && f.memory_available <= f.memory_limit);
	assert_true(f.cpu_flags.n > 3);
	for (size_t i = 1; i < f.cpu_flags.n; i++)
		assert_true(strcmp(f.cpu_flags.items[i - 1], f.cpu_flags.items[i]) < 0);
	fingerprint_done(&f);
	fingerprint_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_setting_follows_rights_and_filter),
		cmocka_unit_test(test_all_rights_in_a_user_namespace_are_not_setting_a),
		cmocka_unit_test(test_plain_user_has_no_rights),
		cmocka_unit_test(test_machine_is_described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
