/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/gc.h"
#include "snapshot/generation.h"
#include "snapshot/lease.h"

#include "tests/lib/test.h"
#include "tests/unit/snapshot/sandbox.h"

#define HOURS_AGO (-2 * 3600)

struct fixture {
	struct sandbox box;
	struct store store;
	char path[128];
};

static void set_age(const struct fixture *f, const char *name, long seconds)
{
	struct timespec now, times[2];

	(void)clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += seconds;
	times[0] = times[1] = now;
	assert_int_equal(utimensat(f->store.fd, name, times, 0), 0);
}

static void put_generation(const struct fixture *f, const char *name, long seconds)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "store/%s/criu/inventory.img", name);
	sandbox_put_text(&f->box, path, "inventory");
	(void)snprintf(path, sizeof(path), "store/%s/manifest.json", name);
	sandbox_put_text(&f->box, path, "{}");
	(void)snprintf(path, sizeof(path), "%s/manifest.json", name);
	set_age(f, path, seconds);
}

static void put_unfinished(const struct fixture *f, const char *name, long seconds)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "store/%s/criu/inventory.img", name);
	sandbox_put_text(&f->box, path, "inventory");
	(void)snprintf(path, sizeof(path), "%s/criu", name);
	set_age(f, path, seconds);
	set_age(f, name, seconds);
}

/* generations 1 to 3 whole and old, 2 current */
static void fixture_init(struct fixture *f)
{
	sandbox_init(&f->box);
	(void)sandbox_path(&f->box, "store", f->path, sizeof(f->path));
	assert_int_equal(store_open(&f->store, f->path, true, NULL), 0);
	put_generation(f, "gen-1", HOURS_AGO);
	put_generation(f, "gen-2", HOURS_AGO);
	put_generation(f, "gen-3", HOURS_AGO);
	sandbox_put_text(&f->box, "store/current", "gen-2\n");
}

static void fixture_done(struct fixture *f)
{
	store_close(&f->store);
	sandbox_done(&f->box);
}

static bool has(const struct fixture *f, const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "store/%s", name);
	return sandbox_has(&f->box, path);
}

static const struct gc_item *find(const struct gc_result *result, const char *name)
{
	for (size_t i = 0; i < result->n; i++) {
		if (strcmp(result->items[i].name, name) == 0)
			return &result->items[i];
	}
	fail_msg("'%s' is not told", name);
	return NULL;
}

static void run(struct fixture *f, uint64_t keep, bool dry_run, struct gc_result *ret)
{
	const struct gc_options options = {.keep = keep, .dry_run = dry_run};
	struct snap_error err = {0};

	if (gc_run(&f->store, &options, ret, &err) < 0)
		fail_msg("gc: %s", err.msg);
	store_close(&f->store);
	assert_int_equal(store_open(&f->store, f->path, false, NULL), 0);
}

static void test_all_but_the_current_one_goes(void **state)
{
	struct gc_result result;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	put_unfinished(&f, "gen-4", HOURS_AGO);
	sandbox_put_text(&f.box, "store/current.tmp.12", "gen-9\n");
	sandbox_put_text(&f.box, "store/lease.stale.00", "");
	sandbox_put_text(&f.box, "store/gen-2/manifest.json.tmp.12", "{");
	sandbox_put_text(&f.box, "store/mine", "mine");
	run(&f, 0, false, &result);
	assert_false(has(&f, "gen-1"));
	assert_true(has(&f, "gen-2/manifest.json"));
	assert_true(has(&f, "gen-2/criu/inventory.img"));
	assert_false(has(&f, "gen-3"));
	assert_false(has(&f, "gen-4"));
	assert_false(has(&f, "current.tmp.12"));
	assert_false(has(&f, "lease.stale.00"));
	assert_false(has(&f, "gen-2/manifest.json.tmp.12"));
	assert_true(has(&f, "mine"));
	assert_true(has(&f, "current"));
	assert_false(has(&f, "lease"));
	assert_int_equal(result.n_removed, 6);
	assert_int_equal(find(&result, "gen-4")->kind, GC_UNFINISHED);
	assert_true(result.freed_bytes >= 3 * 4096);
	gc_result_done(&result);
	fixture_done(&f);
}

static void test_dry_run_changes_nothing(void **state)
{
	struct gc_result result;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	put_unfinished(&f, "gen-4", HOURS_AGO);
	sandbox_put_text(&f.box, "store/lease.tmp.00", "");
	run(&f, 0, true, &result);
	assert_int_equal(result.n_removed, 4);
	assert_true(has(&f, "gen-1/manifest.json") && has(&f, "gen-3/manifest.json"));
	assert_true(has(&f, "gen-4") && has(&f, "lease.tmp.00"));
	assert_false(has(&f, "lease"));
	gc_result_done(&result);
	fixture_done(&f);
}

static void test_newest_ones_are_kept(void **state)
{
	struct gc_result result;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	put_unfinished(&f, "gen-4", HOURS_AGO);
	run(&f, 1, false, &result);
	assert_false(has(&f, "gen-1"));
	assert_int_equal(find(&result, "gen-3")->fate, GC_WANTED);
	assert_true(has(&f, "gen-3/manifest.json"));
	assert_false(has(&f, "gen-4"));
	gc_result_done(&result);
	run(&f, 1000, false, &result);
	assert_int_equal(result.n_removed, 0);
	gc_result_done(&result);
	fixture_done(&f);
}

static void test_held_generation_stays(void **state)
{
	struct gc_result result;
	struct fixture f;
	int fd;

	(void)state;
	fixture_init(&f);
	fd = store_hold_generation(&f.store, "gen-1", NULL);
	assert_true(fd >= 0);
	for (int dry_run = 1; dry_run >= 0; dry_run--) {
		run(&f, 0, dry_run, &result);
		assert_int_equal(find(&result, "gen-1")->fate, GC_IN_USE);
		gc_result_done(&result);
	}
	assert_true(has(&f, "gen-1/manifest.json"));
	assert_false(has(&f, "gen-3"));
	(void)close(fd);
	run(&f, 0, false, &result);
	assert_false(has(&f, "gen-1"));
	gc_result_done(&result);
	fixture_done(&f);
}

static void test_publishing_leaves_a_held_generation(void **state)
{
	char name[STORE_NAME_MAX];
	struct fixture f;
	int fd;

	(void)state;
	fixture_init(&f);
	fd = store_hold_generation(&f.store, "gen-1", NULL);
	assert_int_equal(store_begin(&f.store, NULL, 60000, name, NULL), 0);
	put_generation(&f, name, 0);
	assert_int_equal(store_publish(&f.store, name, NULL), 0);
	assert_true(has(&f, "gen-1/manifest.json"));
	assert_false(has(&f, "gen-2"));
	(void)close(fd);
	fixture_done(&f);
}

static void test_removed_generation_cannot_be_held(void **state)
{
	struct snap_error err = {0};
	char name[STORE_NAME_MAX];
	struct fixture f;
	int claimed, fd;

	(void)state;
	fixture_init(&f);
	claimed = store_open_generation(&f.store, "gen-1", NULL);
	assert_int_equal(generation_claim(claimed), 0);
	assert_int_equal(store_hold_generation(&f.store, "gen-1", &err), -ENOENT);
	assert_int_equal(err.code, SNAP_E_NO_SNAPSHOT);
	(void)close(claimed);
	fd = store_open_generation(&f.store, "gen-1", NULL);
	assert_int_equal(generation_remove_unused(f.store.fd, "gen-1"), 0);
	assert_int_equal(generation_hold(fd), -ENOENT);
	(void)close(fd);
	fd = store_hold_current(&f.store, name, NULL);
	assert_true(fd >= 0);
	assert_string_equal(name, "gen-2");
	(void)close(fd);
	fixture_done(&f);
}

/* a `create` gives the lease up before it tries what it has made */
static void test_what_may_be_tried_or_recovered_stays(void **state)
{
	struct gc_result result;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	put_generation(&f, "gen-1", 0);
	put_generation(&f, "gen-3", -60);
	put_unfinished(&f, "gen-4", 0);
	put_unfinished(&f, "gen-5", HOURS_AGO);
	sandbox_put_text(&f.box, "store/gen-5/pages.dat", "just written");
	set_age(&f, "gen-5", HOURS_AGO);
	run(&f, 0, false, &result);
	assert_false(has(&f, "gen-1"));
	assert_int_equal(find(&result, "gen-3")->fate, GC_FRESH);
	assert_int_equal(find(&result, "gen-4")->fate, GC_FRESH);
	assert_int_equal(find(&result, "gen-5")->fate, GC_FRESH);
	assert_true(has(&f, "gen-3/manifest.json") && has(&f, "gen-4") && has(&f, "gen-5"));
	gc_result_done(&result);
	fixture_done(&f);
}

static void test_capture_keeps_gc_out(void **state)
{
	const struct gc_options options = {.keep = 0};
	char token[LEASE_TOKEN_DIGITS + 1];
	struct gc_result result;
	struct snap_error err = {0};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	assert_int_equal(lease_take(f.store.fd, 60000, token, NULL), 0);
	assert_int_equal(gc_run(&f.store, &options, &result, &err), -EBUSY);
	assert_int_equal(err.code, SNAP_E_PREFLIGHT);
	assert_true(has(&f, "gen-1/manifest.json"));
	gc_result_done(&result);
	lease_drop(f.store.fd, token);
	fixture_done(&f);
}

/* pid 1 of a boot that never was: the expiry alone says that it is over */
static void test_lease_that_is_over_goes(void **state)
{
	struct gc_result result;
	struct fixture f;

	(void)state;
	fixture_init(&f);
	sandbox_put_text(&f.box, "store/lease",
			 "pid 1\nstart_ticks 1\nboot_id 00000000-0000-0000-0000-000000000000\n"
			 "pid_ns 1\nexpires_ms 1000\ntoken 0123456789abcdef0123456789abcdef\n");
	run(&f, 0, true, &result);
	assert_int_equal(find(&result, "lease")->kind, GC_LEASE);
	assert_true(has(&f, "lease"));
	gc_result_done(&result);
	run(&f, 0, false, &result);
	assert_int_equal(find(&result, "lease")->fate, GC_REMOVED);
	assert_false(has(&f, "lease"));
	gc_result_done(&result);
	fixture_done(&f);
}

static void test_unreadable_current_stops_everything(void **state)
{
	const struct gc_options options = {.keep = 0};
	struct gc_result result;
	struct snap_error err = {0};
	struct fixture f;

	(void)state;
	fixture_init(&f);
	sandbox_put_text(&f.box, "store/current", "gen-2");
	assert_true(gc_run(&f.store, &options, &result, &err) < 0);
	assert_int_equal(err.code, SNAP_E_CORRUPT);
	assert_true(has(&f, "gen-1/manifest.json") && has(&f, "gen-3/manifest.json"));
	gc_result_done(&result);
	fixture_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_but_the_current_one_goes),
		cmocka_unit_test(test_dry_run_changes_nothing),
		cmocka_unit_test(test_newest_ones_are_kept),
		cmocka_unit_test(test_held_generation_stays),
		cmocka_unit_test(test_publishing_leaves_a_held_generation),
		cmocka_unit_test(test_removed_generation_cannot_be_held),
		cmocka_unit_test(test_what_may_be_tried_or_recovered_stays),
		cmocka_unit_test(test_capture_keeps_gc_out),
		cmocka_unit_test(test_lease_that_is_over_goes),
		cmocka_unit_test(test_unreadable_current_stops_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
