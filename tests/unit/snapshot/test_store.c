/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/store.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define LEASE_MS 600000

struct fixture {
	struct sandbox box;
	struct store store;
	char path[128];
};

static void fixture_init(struct fixture *f)
{
	sandbox_init(&f->box);
	(void)sandbox_path(&f->box, "store", f->path, sizeof(f->path));
	assert_int_equal(store_open(&f->store, f->path, true, NULL), 0);
}

static void fixture_done(struct fixture *f)
{
	store_close(&f->store);
	store_close(&f->store);
	sandbox_done(&f->box);
}

static void begin(struct fixture *f, const char *name, char ret[STORE_NAME_MAX])
{
	struct snap_error err = {0};

	if (store_begin(&f->store, name, LEASE_MS, ret, &err) < 0)
		fail_msg("begin: %s", err.msg);
}

/* a whole generation as the capture leaves it */
static void fill(const struct fixture *f, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "store/%s/criu/inventory.img", name);
	sandbox_put_text(&f->box, path, "inventory");
	(void)snprintf(path, sizeof(path), "store/%s/manifest.json", name);
	sandbox_put_text(&f->box, path, "{}");
}

static void publish_next(struct fixture *f, char ret[STORE_NAME_MAX])
{
	begin(f, NULL, ret);
	fill(f, ret);
	assert_int_equal(store_publish(&f->store, ret, NULL), 0);
}

static bool has(const struct fixture *f, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "store/%s", name);
	return sandbox_has(&f->box, path);
}

static void test_store_is_made_private(void **state)
{
	struct fixture f;
	struct stat st;

	(void)state;
	fixture_init(&f);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_string_equal(f.store.path, f.path);
	assert_true(fd_is_cloexec(f.store.fd));
	fixture_done(&f);
}

static void test_absent_store_is_no_snapshot(void **state)
{
	struct snap_error err = {0};
	struct store store;
	struct sandbox box;
	char path[128];

	(void)state;
	sandbox_init(&box);
	assert_int_equal(
		store_open(&store, sandbox_path(&box, "s", path, sizeof(path)), false, &err),
		-ENOENT);
	assert_int_equal(err.code, SNAP_E_NO_SNAPSHOT);
	assert_false(sandbox_has(&box, "s"));
	assert_int_equal(store_open(&store, "", true, &err), -ENOENT);
	store_close(&store);
	sandbox_done(&box);
}

static void test_link_or_file_is_no_store(void **state)
{
	struct snap_error err = {0};
	struct fixture f;
	struct store store;
	char path[128];

	(void)state;
	fixture_init(&f);
	assert_int_equal(symlinkat("store", f.box.fd, "link"), 0);
	assert_true(store_open(&store, sandbox_path(&f.box, "link", path, sizeof(path)), true,
			       &err) < 0);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_true(store_open(&store, sandbox_path(&f.box, "link/", path, sizeof(path)), true,
			       &err) < 0);
	sandbox_put_text(&f.box, "file", "x");
	assert_int_equal(
		store_open(&store, sandbox_path(&f.box, "file", path, sizeof(path)), true, &err),
		-ENOTDIR);
	assert_int_equal(store_open(&store, sandbox_path(&f.box, "store//", path, sizeof(path)),
				    false, &err),
			 0);
	store_close(&store);
	fixture_done(&f);
}

static void test_store_that_others_may_write_is_refused(void **state)
{
	struct snap_error err = {0};
	struct fixture f;
	struct store store;

	(void)state;
	fixture_init(&f);
	assert_int_equal(chmod(f.path, 0770), 0);
	assert_int_equal(store_open(&store, f.path, false, &err), -EPERM);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_non_null(strstr(err.msg, "0770"));
	assert_int_equal(chmod(f.path, 0702), 0);
	assert_int_equal(store_open(&store, f.path, true, &err), -EPERM);
	assert_int_equal(chmod(f.path, 0755), 0);
	assert_int_equal(store_open(&store, f.path, false, &err), 0);
	store_close(&store);
	fixture_done(&f);
}

static void test_root_refuses_a_store_of_another_user(void **state)
{
	struct snap_error err = {0};
	struct fixture f;
	struct store store;

	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP: needs root to give a folder away\n");
		skip();
	}
	fixture_init(&f);
	assert_int_equal(chown(f.path, 1000, 1000), 0);
	assert_int_equal(store_open(&store, f.path, false, &err), -EPERM);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_non_null(strstr(err.msg, "uid 1000"));
	fixture_done(&f);
}

static int use_as_user(void *arg)
{
	const struct fixture *f = arg;
	char path[128], name[STORE_NAME_MAX];
	struct store store;

	/* root's store can be read */
	if (store_open(&store, f->path, false, NULL) < 0 || store_is_writable(&store))
		return 1;
	if (store_current(&store, name, NULL) < 0 || strcmp(name, "gen-1") != 0)
		return 2;
	if (store_begin(&store, NULL, LEASE_MS, name, NULL) != -EACCES)
		return 3;
	store_close(&store);
	/* our own can be written */
	if (store_open(&store, sandbox_path(&f->box, "theirs", path, sizeof(path)), false, NULL) <
	    0)
		return 4;
	if (!store_is_writable(&store) || store_begin(&store, NULL, LEASE_MS, name, NULL) < 0)
		return 5;
	store_abort(&store, name);
	store_close(&store);
	/* another user's is refused */
	(void)sandbox_path(&f->box, "foreign", path, sizeof(path));
	return store_open(&store, path, false, NULL) == -EPERM ? 0 : 6;
}

static void test_plain_user_reads_roots_store_and_writes_own(void **state)
{
	char name[STORE_NAME_MAX];
	struct fixture f;

	(void)state;
	if (geteuid() != 0) {
		print_message("SKIP: needs root to become uid 1000\n");
		skip();
	}
	fixture_init(&f);
	publish_next(&f, name);
	assert_int_equal(chmod(f.box.path, 0755), 0);
	assert_int_equal(chmod(f.path, 0755), 0);
	sandbox_put_text(&f.box, "theirs/x", "");
	sandbox_put_text(&f.box, "foreign/x", "");
	assert_int_equal(fchmodat(f.box.fd, "foreign", 0755, 0), 0);
	assert_int_equal(fchownat(f.box.fd, "theirs", 1000, 1000, 0), 0);
	assert_int_equal(fchownat(f.box.fd, "foreign", 1001, 1001, 0), 0);
	assert_int_equal(fchmodat(f.box.fd, "store/current", 0644, 0), 0);
	assert_int_equal(sandbox_run(1000, use_as_user, &f), 0);
	fixture_done(&f);
}

static void test_published_generation_is_current(void **state)
{
	char name[STORE_NAME_MAX], current[STORE_NAME_MAX];
	struct snap_error err = {0};
	struct fixture f;
	struct stat st;
	int fd;

	(void)state;
	fixture_init(&f);
	assert_int_equal(store_current(&f.store, current, &err), -ENOENT);
	assert_int_equal(err.code, SNAP_E_NO_SNAPSHOT);
	begin(&f, NULL, name);
	assert_string_equal(name, "gen-1");
	assert_true(f.store.holds_lease && has(&f, "lease"));
	fd = store_open_generation(&f.store, name, NULL);
	assert_true(fd >= 0 && fd_is_cloexec(fd));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	(void)close(fd);
	fill(&f, name);
	assert_int_equal(store_publish(&f.store, name, NULL), 0);
	assert_false(f.store.holds_lease || has(&f, "lease"));
	assert_int_equal(store_current(&f.store, current, NULL), 0);
	assert_string_equal(current, "gen-1");
	fixture_done(&f);
}

static void test_two_newest_generations_are_kept(void **state)
{
	char name[STORE_NAME_MAX];
	struct fixture f;

	(void)state;
	fixture_init(&f);
	sandbox_put_text(&f.box, "store/mine", "x");
	sandbox_put_text(&f.box, "store/gen-x/keep", "x");
	for (int i = 0; i < 4; i++)
		publish_next(&f, name);
	assert_string_equal(name, "gen-4");
	assert_true(has(&f, "gen-4") && has(&f, "gen-3"));
	assert_false(has(&f, "gen-2") || has(&f, "gen-1"));
	assert_true(has(&f, "mine") && has(&f, "gen-x/keep"));
	fixture_done(&f);
}

static void test_wreck_does_not_push_out_the_last_good_one(void **state)
{
	char name[STORE_NAME_MAX];
	struct fixture f;

	(void)state;
	fixture_init(&f);
	publish_next(&f, name);
	sandbox_put_text(&f.box, "store/gen-2/criu/pages-1.img", "half");
	sandbox_put_text(&f.box, "store/current.tmp.77", "gen");
	sandbox_put_text(&f.box, "store/lease.stale.77/deeper",
			 "a folder that stood for the lease");
	publish_next(&f, name);
	assert_string_equal(name, "gen-3");
	assert_true(has(&f, "gen-1") && has(&f, "gen-3"));
	assert_false(has(&f, "gen-2") || has(&f, "current.tmp.77") || has(&f, "lease.stale.77"));
	fixture_done(&f);
}

static void test_named_generation_must_be_new(void **state)
{
	char name[STORE_NAME_MAX];
	struct snap_error err = {0};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	begin(&f, "gen-7", name);
	assert_string_equal(name, "gen-7");
	fill(&f, name);
	assert_int_equal(store_finish(&f.store, name, NULL), 0);
	assert_false(has(&f, "lease") || has(&f, "current"));
	assert_int_equal(store_begin(&f.store, "gen-7", LEASE_MS, name, &err), -EEXIST);
	assert_int_equal(err.code, SNAP_E_USAGE);
	assert_false(has(&f, "lease"));
	begin(&f, NULL, name);
	assert_string_equal(name, "gen-8");
	store_abort(&f.store, name);
	/* finished earlier, published later */
	assert_int_equal(store_publish(&f.store, "gen-7", NULL), 0);
	assert_int_equal(store_current(&f.store, name, NULL), 0);
	assert_string_equal(name, "gen-7");
	fixture_done(&f);
}

static void test_odd_names_are_refused(void **state)
{
	static const char *const names[] = {"",	      "..",	"gen-0",   "gen-1/..",
					    "gen-01", "gen-1x", "current", "gen-1000000000",
					    "/gen-1"};
	char name[STORE_NAME_MAX];
	struct fixture f;

	(void)state;
	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(store_begin(&f.store, names[i], LEASE_MS, name, NULL), -EINVAL);
		assert_int_equal(store_open_generation(&f.store, names[i], NULL), -EINVAL);
		assert_int_equal(store_publish(&f.store, names[i], NULL), -EINVAL);
		store_abort(&f.store, names[i]);
	}
	assert_false(has(&f, "current"));
	fixture_done(&f);
}

static void test_generation_that_is_a_link_or_open_to_others_is_refused(void **state)
{
	struct snap_error err = {0};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	sandbox_put_text(&f.box, "elsewhere/manifest.json", "{}");
	assert_int_equal(symlinkat("../elsewhere", f.box.fd, "store/gen-1"), 0);
	assert_true(store_open_generation(&f.store, "gen-1", &err) < 0);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	sandbox_put_text(&f.box, "store/gen-2/manifest.json", "{}");
	assert_int_equal(fchmodat(f.box.fd, "store/gen-2", 0777, 0), 0);
	assert_int_equal(store_open_generation(&f.store, "gen-2", &err), -EPERM);
	assert_int_equal(store_open_generation(&f.store, "gen-3", &err), -ENOENT);
	assert_int_equal(err.code, SNAP_E_NO_SNAPSHOT);
	fixture_done(&f);
}

static void test_damaged_current_is_corrupt(void **state)
{
	static const char *const texts[] = {"",
					    "\n",
					    "gen-1",
					    "gen-1\n\n",
					    "gen-1\ngen-2\n",
					    "../x\n",
					    "gen-0\n",
					    "gen-1 \n",
					    "gen-1111111111111111111111111111111111111111\n"};
	char name[STORE_NAME_MAX];
	struct snap_error err = {0};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		sandbox_put_text(&f.box, "store/current", texts[i]);
		if (store_current(&f.store, name, &err) != -EBADMSG)
			fail_msg("'%s' was taken", texts[i]);
		assert_int_equal(err.code, SNAP_E_CORRUPT);
	}
	sandbox_put(&f.box, "store/current", "gen-1\0\n", 7);
	assert_int_equal(store_current(&f.store, name, &err), -EBADMSG);
	assert_int_equal(unlinkat(f.box.fd, "store/current", 0), 0);
	sandbox_put_text(&f.box, "elsewhere", "gen-1\n");
	assert_int_equal(symlinkat("../elsewhere", f.box.fd, "store/current"), 0);
	assert_true(store_current(&f.store, name, &err) < 0);
	assert_non_null(strstr(err.msg, "current' is no regular file"));
	assert_int_equal(unlinkat(f.box.fd, "store/current", 0), 0);
	assert_int_equal(mkfifoat(f.box.fd, "store/current", 0600), 0);
	assert_true(store_current(&f.store, name, &err) < 0);
	assert_non_null(strstr(err.msg, "current' is no regular file"));
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	fixture_done(&f);
}

static void test_generation_without_manifest_is_not_published(void **state)
{
	char name[STORE_NAME_MAX];
	struct snap_error err = {0};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	begin(&f, NULL, name);
	assert_true(store_publish(&f.store, name, &err) < 0);
	assert_non_null(strstr(err.msg, "manifest.json"));
	assert_false(has(&f, "current") || has(&f, "lease"));
	fixture_done(&f);
}

static void test_abort_removes_the_generation_but_never_the_current_one(void **state)
{
	char name[STORE_NAME_MAX], good[STORE_NAME_MAX];
	struct fixture f;

	(void)state;
	fixture_init(&f);
	publish_next(&f, good);
	begin(&f, NULL, name);
	fill(&f, name);
	store_abort(&f.store, name);
	assert_false(has(&f, name) || has(&f, "lease"));
	store_abort(&f.store, good);
	assert_true(has(&f, "gen-1/criu/inventory.img"));
	fixture_done(&f);
}

static void test_second_capture_is_busy_until_the_first_ends(void **state)
{
	char first[STORE_NAME_MAX], second[STORE_NAME_MAX];
	struct snap_error err = {0};
	struct store other;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_int_equal(store_open(&other, f.path, false, NULL), 0);
	begin(&f, NULL, first);
	assert_int_equal(store_begin(&other, NULL, LEASE_MS, second, &err), -EBUSY);
	assert_int_equal(err.code, SNAP_E_PREFLIGHT);
	assert_non_null(strstr(err.msg, f.path));
	assert_int_equal(store_begin(&f.store, NULL, LEASE_MS, second, &err), -EALREADY);
	store_close(&f.store);
	assert_int_equal(store_begin(&other, NULL, LEASE_MS, second, &err), 0);
	assert_string_equal(second, "gen-2");
	store_close(&other);
	fixture_done(&f);
}

static void test_capture_that_lost_its_lease_does_not_publish(void **state)
{
	char slow[STORE_NAME_MAX], quick[STORE_NAME_MAX], current[STORE_NAME_MAX];
	struct snap_error err = {0};
	struct store other;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_int_equal(store_open(&other, f.path, false, NULL), 0);
	assert_int_equal(store_begin(&f.store, NULL, 0, slow, NULL), 0);
	fill(&f, slow);
	assert_int_equal(store_begin(&other, NULL, LEASE_MS, quick, NULL), 0);
	assert_int_equal(store_publish(&f.store, slow, &err), -ESTALE);
	assert_true(has(&f, quick) && has(&f, "lease"));
	fill(&f, quick);
	assert_int_equal(store_publish(&other, quick, NULL), 0);
	assert_int_equal(store_current(&other, current, NULL), 0);
	assert_string_equal(current, "gen-2");
	store_close(&other);
	fixture_done(&f);
}

static void test_published_files_are_private(void **state)
{
	char name[STORE_NAME_MAX];
	struct fixture f;
	struct stat st;

	(void)state;
	fixture_init(&f);
	begin(&f, NULL, name);
	fill(&f, name);
	sandbox_put_text(&f.box, "store/gen-1/criu/restore.log", "x");
	assert_int_equal(fchmodat(f.box.fd, "store/gen-1/criu/restore.log", 0644, 0), 0);
	assert_int_equal(store_publish(&f.store, name, NULL), 0);
	assert_int_equal(fstatat(f.box.fd, "store/gen-1/criu/restore.log", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fstatat(f.box.fd, "store/current", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	fixture_done(&f);
}

static void test_space_is_compared_in_bytes(void **state)
{
	struct snap_error err = {0};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_int_equal(store_check_space(&f.store, 0, NULL), 0);
	assert_int_equal(store_check_space(&f.store, 4096, NULL), 0);
	assert_int_equal(store_check_space(&f.store, UINT64_MAX, &err), -ENOSPC);
	assert_int_equal(err.code, SNAP_E_PREFLIGHT);
	assert_non_null(strstr(err.msg, "MiB free"));
	assert_true(store_is_writable(&f.store));
	fixture_done(&f);
}

static int use_read_only(void *arg)
{
	struct fixture *f = arg;
	char name[STORE_NAME_MAX];
	struct snap_error err = {0};
	struct store store;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(f->path, f->path, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, f->path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) < 0)
		return 77;
	if (store_open(&store, f->path, true, NULL) < 0)
		return 1;
	if (store_is_writable(&store))
		return 2;
	if (store_current(&store, name, NULL) < 0)
		return 3;
	if (store_begin(&store, NULL, LEASE_MS, name, &err) != -EROFS)
		return 4;
	if (err.code != SNAP_E_PREFLIGHT)
		return 5;
	if (store_publish(&store, "gen-1", &err) != -EROFS)
		return 6;
	store_close(&store);
	return 0;
}

static void test_read_only_store_is_read_and_not_written(void **state)
{
	char name[STORE_NAME_MAX];
	struct fixture f;
	int r;

	(void)state;
	fixture_init(&f);
	publish_next(&f, name);
	r = sandbox_run(0, use_read_only, &f);
	fixture_done(&f);
	if (r == 77) {
		print_message("SKIP: no right to mount\n");
		skip();
	}
	assert_int_equal(r, 0);
}

/* fill the rest of the file system that dir_fd lies on */
static int fill_disk(int dir_fd)
{
	static const char page[4096];
	int fd = openat(dir_fd, "rest", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	while (write(fd, page, sizeof(page)) > 0)
		;
	return close(fd);
}

static int publish_without_room(struct store *store, int (*take_room)(int dir_fd), int errnum,
				const char *told)
{
	struct snap_error err = {0};
	char name[STORE_NAME_MAX], path[64];
	int fd;

	if (store_begin(store, NULL, LEASE_MS, name, NULL) < 0)
		return 10;
	(void)snprintf(path, sizeof(path), "%s/manifest.json", name);
	fd = openat(store->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || close(fd) < 0 || take_room(store->fd) < 0)
		return 11;
	if (store_publish(store, name, &err) != -errnum)
		return 12;
	return err.code == SNAP_E_PREFLIGHT && strcmp(err.msg, told) == 0 ? 0 : 13;
}

static int use_full(void *arg)
{
	struct fixture *f = arg;
	struct store store;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", f->path, "tmpfs", 0, "size=64k,mode=0700") < 0)
		return 77;
	if (store_open(&store, f->path, true, NULL) < 0)
		return 1;
	return publish_without_room(&store, fill_disk, ENOSPC,
				    "cannot write 'current': No space left on device (remedy: more "
				    "space on its file system)");
}

static void test_full_disk_is_told_with_its_remedy(void **state)
{
	struct fixture f;
	int r;

	(void)state;
	fixture_init(&f);
	r = sandbox_run(0, use_full, &f);
	fixture_done(&f);
	if (r == 77) {
		print_message("SKIP: no right to mount\n");
		skip();
	}
	assert_int_equal(r, 0);
}

static int limit_files(int dir_fd)
{
	const struct rlimit limit = {3, 3};

	(void)dir_fd;
	(void)signal(SIGXFSZ, SIG_IGN); /* as snapworker has it */
	return setrlimit(RLIMIT_FSIZE, &limit);
}

static int use_limited(void *arg)
{
	struct fixture *f = arg;

	return publish_without_room(&f->store, limit_files, EFBIG,
				    "cannot write 'current': File too large (remedy: a larger "
				    "RLIMIT_FSIZE, ulimit -f)");
}

static void test_file_size_limit_is_told_with_its_remedy(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_int_equal(sandbox_run(0, use_limited, &f), 0);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_store_is_made_private),
		cmocka_unit_test(test_absent_store_is_no_snapshot),
		cmocka_unit_test(test_link_or_file_is_no_store),
		cmocka_unit_test(test_store_that_others_may_write_is_refused),
		cmocka_unit_test(test_root_refuses_a_store_of_another_user),
		cmocka_unit_test(test_plain_user_reads_roots_store_and_writes_own),
		cmocka_unit_test(test_published_generation_is_current),
		cmocka_unit_test(test_two_newest_generations_are_kept),
		cmocka_unit_test(test_wreck_does_not_push_out_the_last_good_one),
		cmocka_unit_test(test_named_generation_must_be_new),
		cmocka_unit_test(test_odd_names_are_refused),
		cmocka_unit_test(test_generation_that_is_a_link_or_open_to_others_is_refused),
		cmocka_unit_test(test_damaged_current_is_corrupt),
		cmocka_unit_test(test_generation_without_manifest_is_not_published),
		cmocka_unit_test(test_abort_removes_the_generation_but_never_the_current_one),
		cmocka_unit_test(test_second_capture_is_busy_until_the_first_ends),
		cmocka_unit_test(test_capture_that_lost_its_lease_does_not_publish),
		cmocka_unit_test(test_published_files_are_private),
		cmocka_unit_test(test_space_is_compared_in_bytes),
		cmocka_unit_test(test_read_only_store_is_read_and_not_written),
		cmocka_unit_test(test_full_disk_is_told_with_its_remedy),
		cmocka_unit_test(test_file_size_limit_is_told_with_its_remedy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
