/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/lease.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define LONG_MS 600000

static bool no_locks; /* as on a file system that has none */

int __real_flock(int fd, int operation);
int __wrap_flock(int fd, int operation);

int __wrap_flock(int fd, int operation)
{
	if (!no_locks)
		return __real_flock(fd, operation);
	errno = ENOLCK;
	return -1;
}

static void test_second_taker_is_told_who_holds_it(void **state)
{
	char token[LEASE_TOKEN_DIGITS + 1], second[LEASE_TOKEN_DIGITS + 1], pid[32];
	struct snap_error err = {0};
	struct sandbox box;
	struct stat st;

	(void)state;
	sandbox_init(&box);
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	assert_int_equal(strlen(token), LEASE_TOKEN_DIGITS);
	assert_int_equal(fstatat(box.fd, "lease", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(lease_take(box.fd, LONG_MS, second, &err), -EBUSY);
	(void)snprintf(pid, sizeof(pid), "pid %d", getpid());
	assert_non_null(strstr(err.msg, pid));
	assert_int_equal(lease_check(box.fd, token), 0);
	lease_drop(box.fd, token);
	assert_false(sandbox_has(&box, "lease"));
	assert_int_equal(lease_check(box.fd, token), -ESTALE);
	assert_int_equal(lease_take(box.fd, LONG_MS, second, NULL), 0);
	assert_string_not_equal(token, second);
	sandbox_done(&box);
}

static int take_and_die(void *arg)
{
	const struct sandbox *box = arg;
	char token[LEASE_TOKEN_DIGITS + 1];

	if (lease_take(box->fd, LONG_MS, token, NULL) < 0)
		return 1;
	(void)raise(SIGKILL);
	return 2;
}

static void test_dead_holders_lease_is_broken(void **state)
{
	char token[LEASE_TOKEN_DIGITS + 1];
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	assert_int_equal(sandbox_run(0, take_and_die, &box), -SIGKILL);
	assert_true(sandbox_has(&box, "lease"));
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	assert_int_equal(lease_check(box.fd, token), 0);
	sandbox_done(&box);
}

static void test_zombie_holder_is_dead(void **state)
{
	char token[LEASE_TOKEN_DIGITS + 1];
	struct sandbox box;
	siginfo_t info;
	pid_t pid;

	(void)state;
	sandbox_init(&box);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(take_and_die(&box));
	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	sandbox_done(&box);
}

static void test_expired_lease_is_broken_and_its_holder_notices(void **state)
{
	char first[LEASE_TOKEN_DIGITS + 1], second[LEASE_TOKEN_DIGITS + 1];
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	assert_int_equal(lease_take(box.fd, 0, first, NULL), 0);
	assert_int_equal(lease_check(box.fd, first), 0);
	assert_int_equal(lease_take(box.fd, LONG_MS, second, NULL), 0);
	assert_int_equal(lease_check(box.fd, first), -ESTALE);
	lease_drop(box.fd, first);
	assert_int_equal(lease_check(box.fd, second), 0);
	sandbox_done(&box);
}

/* replace the value of one line of the lease file */
static void edit_lease(const struct sandbox *box, const char *key, const char *value)
{
	char text[1024] = "", edited[1024] = "";
	size_t used = 0;
	char *save = NULL;

	assert_true(io_read_line(box->fd, "lease", text, sizeof(text)) > 0);
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		bool is_it = strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ' ';

		used += (size_t)snprintf(edited + used, sizeof(edited) - used, "%s%s%s\n",
					 is_it ? key : line, is_it ? " " : "", is_it ? value : "");
	}
	sandbox_put_text(box, "lease", edited);
}

static void test_pid_that_was_given_to_another_process_is_dead(void **state)
{
	char token[LEASE_TOKEN_DIGITS + 1];
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	edit_lease(&box, "start_ticks", "1");
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	sandbox_done(&box);
}

static void test_pid_of_another_boot_or_namespace_says_nothing(void **state)
{
	char token[LEASE_TOKEN_DIGITS + 1];
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	assert_int_equal(sandbox_run(0, take_and_die, &box), -SIGKILL);
	edit_lease(&box, "boot_id", "00000000-0000-0000-0000-000000000000");
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), -EBUSY);
	assert_int_equal(unlinkat(box.fd, "lease", 0), 0);

	assert_int_equal(sandbox_run(0, take_and_die, &box), -SIGKILL);
	edit_lease(&box, "pid_ns", "1");
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), -EBUSY);
	edit_lease(&box, "expires_ms", "1000");
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	sandbox_done(&box);
}

static void test_torn_lease_is_broken_when_it_is_old(void **state)
{
	const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	char token[LEASE_TOKEN_DIGITS + 1];
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	sandbox_put_text(&box, "lease", "pid 1\nstart");
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), -EBUSY);
	assert_int_equal(utimensat(box.fd, "lease", old, 0), 0);
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	assert_int_equal(lease_check(box.fd, token), 0);
	sandbox_done(&box);
}

struct contest {
	struct sandbox box;
	int n_winners;	/* of all rounds */
	int n_inside;	/* holders at this moment */
	int n_overlaps; /* must stay 0 */
};

static int contend(void *arg)
{
	struct contest *contest = arg;
	int rounds = 0;

	while (rounds < 50) {
		const struct timespec pause = {.tv_nsec = 100000};
		char token[LEASE_TOKEN_DIGITS + 1];

		if (lease_take(contest->box.fd, LONG_MS, token, NULL) < 0) {
			(void)nanosleep(&pause, NULL);
			continue;
		}
		if (__atomic_add_fetch(&contest->n_inside, 1, __ATOMIC_SEQ_CST) != 1)
			__atomic_add_fetch(&contest->n_overlaps, 1, __ATOMIC_SEQ_CST);
		(void)nanosleep(&pause, NULL);
		__atomic_add_fetch(&contest->n_winners, 1, __ATOMIC_SEQ_CST);
		__atomic_sub_fetch(&contest->n_inside, 1, __ATOMIC_SEQ_CST);
		if (rounds % 2 == 0)
			lease_drop(contest->box.fd, token);
		else if (unlinkat(contest->box.fd, "lease", 0) < 0)
			return 3; /* somebody took it away from us */
		rounds++;
	}
	return 0;
}

static void test_contenders_are_never_inside_together(void **state)
{
	struct contest *contest = mmap(NULL, sizeof(*contest), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[4];
	int status;

	(void)state;
	assert_ptr_not_equal(contest, MAP_FAILED);
	sandbox_init(&contest->box);
	/* all begin by breaking the same dead lease */
	assert_int_equal(sandbox_run(0, take_and_die, &contest->box), -SIGKILL);
	for (size_t i = 0; i < 4; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			_exit(contend(contest));
	}
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(contest->n_overlaps, 0);
	assert_int_equal(contest->n_winners, 200);
	sandbox_done(&contest->box);
	(void)munmap(contest, sizeof(*contest));
}

static void test_stuck_lock_ends_in_busy_and_not_in_waiting(void **state)
{
	char token[LEASE_TOKEN_DIGITS + 1];
	struct snap_error err = {0};
	struct sandbox box;
	int lock;

	(void)state;
	sandbox_init(&box);
	lock = lease_lock(box.fd);
	assert_true(lock >= 0);
	assert_int_equal(lease_take(box.fd, LONG_MS, token, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "locked"));
	(void)close(lock);
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	sandbox_done(&box);
}

static void test_leases_work_without_locks(void **state)
{
	char token[LEASE_TOKEN_DIGITS + 1], second[LEASE_TOKEN_DIGITS + 1];
	struct sandbox box;

	(void)state;
	sandbox_init(&box);
	no_locks = true;
	assert_int_equal(lease_lock(box.fd), FD_NONE);
	assert_int_equal(sandbox_run(0, take_and_die, &box), -SIGKILL);
	assert_int_equal(lease_take(box.fd, LONG_MS, token, NULL), 0);
	assert_int_equal(lease_take(box.fd, LONG_MS, second, NULL), -EBUSY);
	lease_drop(box.fd, token);
	assert_false(sandbox_has(&box, "lease"));
	no_locks = false;
	sandbox_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_second_taker_is_told_who_holds_it),
		cmocka_unit_test(test_dead_holders_lease_is_broken),
		cmocka_unit_test(test_zombie_holder_is_dead),
		cmocka_unit_test(test_expired_lease_is_broken_and_its_holder_notices),
		cmocka_unit_test(test_pid_that_was_given_to_another_process_is_dead),
		cmocka_unit_test(test_pid_of_another_boot_or_namespace_says_nothing),
		cmocka_unit_test(test_torn_lease_is_broken_when_it_is_old),
		cmocka_unit_test(test_contenders_are_never_inside_together),
		cmocka_unit_test(test_stuck_lock_ends_in_busy_and_not_in_waiting),
		cmocka_unit_test(test_leases_work_without_locks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
