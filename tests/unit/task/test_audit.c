/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/procfs.h"
#include "snapshot/task/audit.h"
#include "snapshot/task/audit_internal.h"

#include "tests/lib/test.h"
#include "tests/unit/task/holdings.h"

#define KINDS_MAX 512

static char held_dir[] = "/tmp/snap-auditXXXXXX";

/* what CRIU would be allowed here: the column of the table that counts */
static bool is_privileged(void)
{
	return audit_has_capability(CAP_SYS_ADMIN, true) &&
	       audit_has_capability(CAP_DAC_READ_SEARCH, true);
}

static struct audit_rights usual_rights(void)
{
	return (struct audit_rights){.admin = is_privileged(), .uid = geteuid()};
}

/* what the kernel calls this program, and the children it forks */
static const char *own_name(void)
{
	static char name[16];

	(void)prctl(PR_GET_NAME, name);
	return name;
}

static void audit_below(pid_t root, const struct audit_rights *rights, struct audit_report *ret)
{
	snap_cleanup(task_tree_done) struct task_tree tree = {0};
	struct snap_error err = {0};

	if (task_tree_collect(root, &tree, &err) < 0 || audit_tree(&tree, rights, ret, &err) < 0)
		fail_msg("%s", err.msg);
}

static const struct audit_finding *find_text(const struct audit_report *report, const char *text)
{
	for (size_t i = 0; i < report->n; i++) {
		if (strstr(report->items[i].text, text))
			return &report->items[i];
	}
	return NULL;
}

/* its pid; a kind that is not offered here skips the test with the reason */
static pid_t start_or_skip(const struct holding *holding)
{
	int pid = holding_start(holding);

	if (pid < 0) {
		print_message("SKIP: %s: not offered here: %s\n", holding->name, strerror(-pid));
		skip();
	}
	return pid;
}

static int kill_child(pid_t pid, void *arg)
{
	struct proc_stat stat;
	pid_t spared = *(pid_t *)arg;

	if (procfs_stat(pid, &stat) == 0 && stat.ppid == getpid() && pid != spared)
		(void)kill(pid, SIGKILL);
	return 0;
}

/* helpers of a kind that play the outside are ours by now: we are the reaper */
static void end_all(pid_t spared)
{
	siginfo_t info;

	for (;;) {
		(void)procfs_each_pid(kill_child, &spared);
		info.si_pid = 0;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | (spared > 0 ? WNOHANG : 0)) < 0 ||
		    info.si_pid == 0)
			return;
		(void)waitpid(info.si_pid, NULL, 0);
	}
}

/* one row of the table: the audit says what the row wants, or nothing at all */
static void test_kind(void **state)
{
	const struct holding *holding = *state;
	struct audit_rights rights = usual_rights();
	const char *wanted = rights.admin ? holding->finding : holding->finding_unprivileged;
	const struct audit_finding *finding;
	struct audit_report report;
	pid_t pid;

	if (strcmp(holding->name, "leftover") == 0)
		rights.init_pid = getpid();
	pid = start_or_skip(holding);
	audit_below(pid, &rights, &report);
	holding_end(pid);
	end_all(0);

	if (!wanted) {
		if (report.total > 0)
			fail_msg("found: %s", report.items[0].text);
		return;
	}
	finding = find_text(&report, wanted);
	if (!finding)
		fail_msg("'%s' is not among %zu findings, the first: '%s'", wanted, report.total,
			 report.n > 0 ? report.items[0].text : "");
	else if (finding->transient != holding->transient)
		fail_msg("transient is wrong: '%s'", finding->text);
}

static void test_finding_names_pid_and_program(void **state)
{
	struct audit_rights rights = usual_rights();
	pid_t pid = start_or_skip(holding_find("pidfd_outside"));
	struct audit_report report;
	char wanted[128];

	(void)state;
	audit_below(pid, &rights, &report);
	holding_end(pid);
	(void)snprintf(wanted, sizeof(wanted), "pid %d (%s) fd 3 is a pidfd of process %d outside",
		       (int)pid, own_name(), (int)getpid());
	assert_int_equal(report.total, 1);
	assert_memory_equal(report.items[0].text, wanted, strlen(wanted));
}

static void test_connection_names_both_ends(void **state)
{
	struct audit_rights rights = usual_rights();
	pid_t pid = start_or_skip(holding_find("tcp_inside"));
	unsigned int port[2], peer_port[2];
	struct audit_report report;

	(void)state;
	audit_below(pid, &rights, &report);
	holding_end(pid);
	assert_int_equal(report.total, 2);
	for (int i = 0; i < 2; i++) {
		const char *at = strstr(report.items[i].text, "tcp 127.0.0.1:");

		assert_non_null(at);
		assert_int_equal(sscanf(at, "tcp 127.0.0.1:%u ↔ 127.0.0.1:%u is open", &port[i],
					&peer_port[i]),
				 2);
	}
	assert_int_equal(port[0], peer_port[1]);
	assert_int_equal(port[1], peer_port[0]);
}

static void test_tracer_is_named(void **state)
{
	struct audit_rights rights = usual_rights();
	pid_t pid = start_or_skip(holding_find("traced_child"));
	struct audit_report report;
	char wanted[64];

	(void)state;
	audit_below(pid, &rights, &report);
	holding_end(pid);
	(void)snprintf(wanted, sizeof(wanted), "is traced by pid %d (%s)", (int)pid, own_name());
	assert_non_null(find_text(&report, wanted));
}

static void test_outside_holder_is_named(void **state)
{
	struct audit_rights rights = usual_rights();
	pid_t pid = start_or_skip(holding_find("unix_outside"));
	const struct audit_finding *finding;
	struct audit_report report;
	char wanted[64];

	(void)state;
	audit_below(pid, &rights, &report);
	holding_end(pid);
	end_all(0);
	(void)snprintf(wanted, sizeof(wanted), "(%s), which CRIU cannot dump", own_name());
	finding = find_text(&report, "/snap-outside.");
	assert_non_null(finding);
	assert_non_null(strstr(finding->text, wanted));
}

static void test_filter_counts_without_admin_only(void **state)
{
	struct audit_rights rights = usual_rights();
	pid_t pid = start_or_skip(holding_find("seccomp_filter"));
	struct audit_report without, with;

	(void)state;
	rights.admin = false;
	audit_below(pid, &rights, &without);
	rights.admin = true;
	audit_below(pid, &rights, &with);
	holding_end(pid);
	assert_non_null(find_text(&without, "seccomp filter"));
	assert_null(find_text(&with, "seccomp filter"));
}

static void test_uid_of_criu_counts(void **state)
{
	struct audit_rights rights = usual_rights();
	pid_t pid = start_or_skip(holding_find("nothing"));
	struct audit_report same, other;

	(void)state;
	rights.admin = false;
	audit_below(pid, &rights, &same);
	rights.uid++;
	audit_below(pid, &rights, &other);
	holding_end(pid);
	assert_int_equal(same.total, 0);
	assert_int_equal(other.total, 1);
	assert_non_null(find_text(&other, "while CRIU runs as uid"));
}

/* init's children: the engine, a worker with its helper, and one that left the engine */
static void test_worker_is_no_leftover(void **state)
{
	struct audit_rights rights = usual_rights();
	pid_t pid = start_or_skip(holding_find("leftover")), worker;
	struct audit_report report;

	(void)state;
	worker = fork();
	if (worker == 0) {
		(void)fork();
		for (;;)
			(void)pause();
	}
	rights.init_pid = getpid();
	rights.self_pid = worker;
	audit_below(pid, &rights, &report);
	holding_end(pid);
	(void)kill(worker, SIGKILL);
	end_all(0);
	assert_int_equal(report.total, 1);
	assert_non_null(find_text(&report, "left the engine's tree"));
}

static void test_root_without_session_is_found(void **state)
{
	struct audit_rights rights = usual_rights();
	struct audit_report report;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		(void)close_range(3, ~0U, 0);
		for (;;)
			(void)pause();
	}
	audit_below(pid, &rights, &report);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	assert_non_null(find_text(&report, "leads no session"));
}

static void test_name_of_a_program_cannot_break_the_line(void **state)
{
	struct tree_process process = {.pid = 7, .comm = "a\nb\x1b[31m"};
	struct audit_report report = {0};
	struct audit audit = {.report = &report};

	(void)state;
	audit_find(&audit, &process, "holds '%s'", "x\ty");
	assert_string_equal(report.items[0].text, "pid 7 (a?b?[31m) holds 'x?y'");
}

static void test_long_text_is_cut_at_a_character(void **state)
{
	struct tree_process process = {.pid = 7, .comm = "x"};
	struct audit_report report = {0};
	struct audit audit = {.report = &report};
	char text[400] = "";
	size_t len;

	(void)state;
	for (int shift = 0; shift < 3; shift++) {
		memset(text, 'a', (size_t)shift);
		for (len = (size_t)shift; len < sizeof(text) - 4; len += 3)
			memcpy(text + len, "↔", 4);
		audit_find(&audit, &process, "%s", text);
		len = strlen(report.items[shift].text);
		assert_in_range(len, sizeof(report.items[shift].text) - 4,
				sizeof(report.items[shift].text) - 1);
		assert_memory_equal(report.items[shift].text + len - 3, "↔", 3);
	}
}

static void fill_report(struct audit_report *report, size_t transient, size_t lasting)
{
	struct tree_process process = {.pid = 7, .comm = "x"};
	struct audit audit = {.report = report};

	memset(report, 0, sizeof(*report));
	for (size_t i = 0; i < transient; i++)
		audit_find_transient(&audit, &process, "passes");
	for (size_t i = 0; i < lasting; i++)
		audit_find(&audit, &process, "lasts");
}

static void test_full_report_hides_no_lasting_finding(void **state)
{
	struct audit_report report;

	(void)state;
	fill_report(&report, AUDIT_FINDINGS_MAX + 5, 0);
	assert_true(audit_only_transient(&report));
	assert_int_equal(report.n, AUDIT_FINDINGS_MAX);
	assert_int_equal(report.total, AUDIT_FINDINGS_MAX + 5);

	fill_report(&report, AUDIT_FINDINGS_MAX + 5, 2);
	assert_false(audit_only_transient(&report));
	assert_non_null(find_text(&report, "lasts"));
	assert_int_equal(report.total, AUDIT_FINDINGS_MAX + 7);

	fill_report(&report, 0, AUDIT_FINDINGS_MAX + 5);
	assert_int_equal(report.n, AUDIT_FINDINGS_MAX);
}

/* CRIU takes connections where it may; who has not executed yet is waited for all the same */
static void test_what_blocks_is_no_connection(void **state)
{
	struct tree_process process = {.pid = 7, .comm = "x"};
	struct audit_report report;
	struct audit audit = {.report = &report};

	(void)state;
	fill_report(&report, AUDIT_FINDINGS_MAX + 1, 0);
	assert_true(audit_only_connections(&report));
	audit_find_blocking(&audit, &process, "blocks");
	assert_true(audit_only_transient(&report));
	assert_false(audit_only_connections(&report));
	for (size_t i = 0; i < AUDIT_FINDINGS_MAX; i++)
		audit_find(&audit, &process, "lasts");
	assert_null(find_text(&report, "blocks"));
	audit_find_blocking(&audit, &process, "blocks");
	assert_null(find_text(&report, "blocks"));
	fill_report(&report, 0, 0);
	assert_false(audit_only_connections(&report));
}

/* the parent's devices will be closed, a stranger's not */
static void test_devices_of_a_child_before_its_program(void **state)
{
	static const int32_t with_devices[] = {10, 20};
	static const struct audit_rights rights = {.device_pids = with_devices, .n_device_pids = 2};
	const struct audit audit = {.rights = &rights};
	const struct tree_process child = {.pid = 30, .ppid = 20}, other = {.pid = 31, .ppid = 30},
				  rank = {.pid = 20, .ppid = 10};

	(void)state;
	assert_true(audit_device_is_inherited(&audit, &child));
	assert_false(audit_device_is_inherited(&audit, &other));
	assert_false(audit_device_is_inherited(&audit, &rank));
	assert_true(audit_device_will_close(&audit, &rank));
}

static void test_empty_report_is_not_transient(void **state)
{
	struct audit_report report;
	char buf[8] = "x";

	(void)state;
	fill_report(&report, 0, 0);
	assert_false(audit_only_transient(&report));
	audit_format(&report, buf, sizeof(buf));
	assert_string_equal(buf, "");
	fill_report(&report, 1, 1);
	assert_false(audit_only_transient(&report));
}

static void test_report_in_one_line(void **state)
{
	struct audit_report report;
	char buf[128];

	(void)state;
	fill_report(&report, 1, 1);
	audit_format(&report, buf, sizeof(buf));
	assert_string_equal(buf, "pid 7 (x) passes; pid 7 (x) lasts");

	fill_report(&report, 0, AUDIT_FINDINGS_MAX + 8);
	audit_format(&report, buf, sizeof(buf));
	assert_non_null(strstr(buf, "pid 7 (x) lasts; pid 7 (x) lasts; "));
	assert_non_null(strstr(buf, "; and 3"));
	assert_non_null(strstr(buf, " more"));

	for (size_t size = 1; size < sizeof(buf); size++) {
		memset(buf, 'z', sizeof(buf));
		audit_format(&report, buf, size);
		assert_true(strlen(buf) < size);
		assert_int_equal(buf[size], 'z');
	}
}

static void test_missing_root_is_no_finding(void **state)
{
	struct tree_process gone = {.pid = 1 << 29, .session = 1 << 29, .comm = "gone"};
	struct task_tree tree = {.processes = &gone, .n_processes = 1};
	struct audit_rights rights = usual_rights();
	struct audit_report report;
	struct snap_error err = {0};

	(void)state;
	assert_int_equal(audit_tree(&tree, &rights, &report, &err), 0);
	assert_int_equal(report.total, 0);
}

static int unmount_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	(void)umount2(path, MNT_DETACH);
	return 0;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int set_up(void **state)
{
	(void)state;
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* strays become ours */
	return mkdtemp(held_dir) && setenv("SNAP_HELD_DIR", held_dir, 1) == 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	end_all(0);
	(void)nftw(held_dir, unmount_entry, 16, FTW_DEPTH | FTW_PHYS);
	return nftw(held_dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/*
 * What a kind mounts must not outlive the test. The program starts again inside, because its own
 * file would else be one of another mount namespace, as the audit would say.
 */
static void enter_own_mounts(char **argv)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (getenv("SNAP_TEST_OWN_MOUNTS") || n <= 0 || unshare(CLONE_NEWNS) < 0)
		return;
	self[n] = '\0';
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	    setenv("SNAP_TEST_OWN_MOUNTS", "1", 1) == 0)
		(void)execv(self, argv);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest fixed[] = {
		cmocka_unit_test(test_finding_names_pid_and_program),
		cmocka_unit_test(test_connection_names_both_ends),
		cmocka_unit_test(test_tracer_is_named),
		cmocka_unit_test(test_outside_holder_is_named),
		cmocka_unit_test(test_filter_counts_without_admin_only),
		cmocka_unit_test(test_uid_of_criu_counts),
		cmocka_unit_test(test_worker_is_no_leftover),
		cmocka_unit_test(test_root_without_session_is_found),
		cmocka_unit_test(test_name_of_a_program_cannot_break_the_line),
		cmocka_unit_test(test_long_text_is_cut_at_a_character),
		cmocka_unit_test(test_full_report_hides_no_lasting_finding),
		cmocka_unit_test(test_what_blocks_is_no_connection),
		cmocka_unit_test(test_devices_of_a_child_before_its_program),
		cmocka_unit_test(test_empty_report_is_not_transient),
		cmocka_unit_test(test_report_in_one_line),
		cmocka_unit_test(test_missing_root_is_no_finding),
	};
	static struct CMUnitTest tests[KINDS_MAX];
	size_t n = 0;

	(void)argc;
	enter_own_mounts(argv);
	for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
		tests[n++] = fixed[i];
	for (size_t i = 0; holding_at(i) && n < KINDS_MAX; i++) {
		const struct holding *holding = holding_at(i);

		tests[n++] = (struct CMUnitTest){
			.name = holding->name,
			.test_func = test_kind,
			.initial_state = (void *)(uintptr_t)holding,
		};
	}
	return _cmocka_run_group_tests("audit", tests, n, set_up, tear_down);
}
