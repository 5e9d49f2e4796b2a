/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A capturer is killed in front of each system call that changes the store, one after the other,
 * and each time the store must still name a whole generation, and the next capture must work. The
 * linker puts the functions below before libc's (--wrap).
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "snapshot/gc.h"
#include "snapshot/store.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define LEASE_MS  600000
#define STEPS_MAX 500

static int calls_left = -1; /* -1: nobody is killed */

static void count_call(void)
{
	if (calls_left == 0)
		(void)raise(SIGKILL);
	if (calls_left > 0)
		calls_left--;
}

/* clang-format off */
int __real_fchmod(int fd, mode_t mode);
int __real_fsync(int fd);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_mkdirat(int fd, const char *path, mode_t mode);
int __real_openat(int fd, const char *path, int flags, ...);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __real_unlinkat(int fd, const char *path, int flags);
ssize_t __real_write(int fd, const void *buf, size_t size);

int __wrap_fchmod(int fd, mode_t mode);
int __wrap_fsync(int fd);
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_mkdirat(int fd, const char *path, mode_t mode);
int __wrap_openat(int fd, const char *path, int flags, ...);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_unlinkat(int fd, const char *path, int flags);
ssize_t __wrap_write(int fd, const void *buf, size_t size);

/* clang-format on */

int __wrap_fchmod(int fd, mode_t mode)
{
	count_call();
	return __real_fchmod(fd, mode);
}

int __wrap_fsync(int fd)
{
	count_call();
	return __real_fsync(fd);
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
	count_call();
	return __real_linkat(from_fd, from, to_fd, to, flags);
}

int __wrap_mkdirat(int fd, const char *path, mode_t mode)
{
	count_call();
	return __real_mkdirat(fd, path, mode);
}

int __wrap_openat(int fd, const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	if (flags & O_CREAT) {
		count_call();
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return __real_openat(fd, path, flags, mode);
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	count_call();
	return __real_renameat(from_fd, from, to_fd, to);
}

int __wrap_unlinkat(int fd, const char *path, int flags)
{
	count_call();
	return __real_unlinkat(fd, path, flags);
}

ssize_t __wrap_write(int fd, const void *buf, size_t size)
{
	count_call();
	return __real_write(fd, buf, size);
}

struct capturer {
	const char *store_path;
	const struct sandbox *box;
	int kill_before; /* the call of that number; -1: none */
};

static void fill(const struct sandbox *box, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "store/%s/criu/inventory.img", name);
	sandbox_put_text(box, path, "inventory");
	(void)snprintf(path, sizeof(path), "store/%s/manifest.json", name);
	sandbox_put_text(box, path, "{}");
}

static int capture(void *arg)
{
	const struct capturer *capturer = arg;
	char name[STORE_NAME_MAX];
	struct store store;

	if (store_open(&store, capturer->store_path, true, NULL) < 0)
		return 1;
	calls_left = capturer->kill_before;
	if (store_begin(&store, NULL, LEASE_MS, name, NULL) < 0)
		return 2;
	fill(capturer->box, name);
	if (store_publish(&store, name, NULL) < 0)
		return 3;
	calls_left = -1;
	store_close(&store);
	return 0;
}

/* number of the current generation, which must be a whole one */
static int current_number(const char *store_path)
{
	char name[STORE_NAME_MAX];
	struct snap_error err = {0};
	struct store store;
	struct stat st;
	int fd;

	assert_int_equal(store_open(&store, store_path, false, NULL), 0);
	if (store_current(&store, name, &err) < 0)
		fail_msg("no current generation: %s", err.msg);
	fd = store_open_generation(&store, name, NULL);
	assert_true(fd >= 0);
	assert_int_equal(fstatat(fd, "manifest.json", &st, 0), 0);
	assert_int_equal(fstatat(fd, "criu/inventory.img", &st, 0), 0);
	(void)close(fd);
	store_close(&store);
	return atoi(name + 4);
}

static void test_killed_anywhere_the_store_stays_whole(void **state)
{
	struct sandbox box;
	char path[128];
	struct capturer capturer = {.box = &box, .store_path = path};
	int steps, r = -SIGKILL, before, after;

	(void)state;
	sandbox_init(&box);
	(void)sandbox_path(&box, "store", path, sizeof(path));
	for (int i = 0; i < 3; i++) {
		capturer.kill_before = -1;
		assert_int_equal(sandbox_run(0, capture, &capturer), 0);
	}

	for (steps = 0; r == -SIGKILL && steps < STEPS_MAX; steps++) {
		before = current_number(path);
		capturer.kill_before = steps;
		r = sandbox_run(0, capture, &capturer);
		if (r != 0 && r != -SIGKILL)
			fail_msg("killed before call %d: %d", steps, r);
		after = current_number(path);
		assert_true(after >= before);

		capturer.kill_before = -1;
		assert_int_equal(sandbox_run(0, capture, &capturer), 0);
		assert_true(current_number(path) > after);
		assert_false(sandbox_has(&box, "store/lease"));
	}
	assert_int_equal(r, 0);
	print_message("killed before each of %d calls\n", steps - 1);
	assert_true(steps > 20);
	sandbox_done(&box);
}

/* what a gc has to do each time: two whole generations, one half made, temporary names */
static void litter(const struct sandbox *box)
{
	sandbox_put_text(box, "store/gen-1/criu/inventory.img", "inventory");
	sandbox_put_text(box, "store/gen-1/manifest.json", "{}");
	sandbox_put_text(box, "store/gen-2/manifest.json", "{}");
	sandbox_put_text(box, "store/gen-3/criu/inventory.img", "inventory");
	sandbox_put_text(box, "store/lease.tmp.0", "");
	sandbox_put_text(box, "store/current", "gen-4\n");
	sandbox_put_text(box, "store/gen-4/criu/inventory.img", "inventory");
	sandbox_put_text(box, "store/gen-4/manifest.json", "{}");
}

/* a rest younger than a minute is left for a recovery to read */
static void grow_old(const struct sandbox *box)
{
	static const char *const names[] = {"gen-1/criu", "gen-1", "gen-2", "gen-3/criu", "gen-3"};
	const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[64];

		(void)snprintf(path, sizeof(path), "store/%s", names[i]);
		(void)utimensat(box->fd, path, times, 0);
	}
}

static int collect(void *arg)
{
	const struct gc_options options = {.keep = 0};
	const struct capturer *capturer = arg;
	struct gc_result result;
	struct store store;
	int r;

	if (store_open(&store, capturer->store_path, false, NULL) < 0)
		return 1;
	calls_left = capturer->kill_before;
	r = gc_run(&store, &options, &result, NULL);
	store_close(&store);
	calls_left = -1;
	gc_result_done(&result);
	return r < 0 ? 2 : 0;
}

static void test_killed_gc_leaves_the_store_whole(void **state)
{
	struct sandbox box;
	char path[128];
	struct capturer killed = {.box = &box, .store_path = path}, whole;
	int steps, r = -SIGKILL;

	(void)state;
	sandbox_init(&box);
	assert_int_equal(mkdirat(box.fd, "store", 0700), 0);
	(void)sandbox_path(&box, "store", path, sizeof(path));
	for (steps = 0; r == -SIGKILL && steps < STEPS_MAX; steps++) {
		struct stat st;

		litter(&box);
		grow_old(&box);
		killed.kill_before = steps;
		r = sandbox_run(0, collect, &killed);
		assert_int_equal(current_number(path), 4);
		/* what has lost its manifest is not read as a snapshot any more */
		if (!sandbox_has(&box, "store/gen-1/criu/inventory.img") &&
		    fstatat(box.fd, "store/gen-1", &st, 0) == 0)
			assert_false(sandbox_has(&box, "store/gen-1/manifest.json"));
		grow_old(&box);
		whole = killed;
		whole.kill_before = -1;
		assert_int_equal(sandbox_run(0, collect, &whole), 0);
		assert_int_equal(current_number(path), 4);
		for (int i = 1; i <= 3; i++) {
			char rest[32];

			(void)snprintf(rest, sizeof(rest), "store/gen-%d", i);
			assert_false(sandbox_has(&box, rest));
		}
		assert_false(sandbox_has(&box, "store/lease"));
		assert_false(sandbox_has(&box, "store/lease.tmp.0"));
	}
	assert_int_equal(r, 0);
	print_message("killed before each of %d calls\n", steps - 1);
	assert_true(steps > 10);
	sandbox_done(&box);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_gc_leaves_the_store_whole),
		cmocka_unit_test(test_killed_anywhere_the_store_stays_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
