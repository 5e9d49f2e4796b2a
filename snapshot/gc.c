/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Under the lease nobody makes a generation or publishes one, so what is listed stays as it is but
 * for readers, whom the lock on a generation's folder tells. Two kinds of generation belong to
 * somebody who holds neither at the moment: a complete one newer than the current one may be about
 * to be tried by a `create`, which gives the lease up in between; and the rest of a capturer that
 * was just killed may hold the only copy of its engine's memory until the recovery has read it,
 * which PID 1 holds meanwhile, but not where there are no locks. Both are known by their age.
 *
 * Killed at any point, gc leaves a store in which less is to be removed: the manifest goes first,
 * and what is left without one is the next gc's.
 */

#include "snapshot/gc.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/folder.h"
#include "snapshot/generation.h"
#include "snapshot/lease.h"
#include "snapshot/manifest.h"
#include "snapshot/pages/map.h"

#define GC_LEASE_MS    600000U
#define MANIFEST_TMP   MANIFEST_NAME ".tmp."
#define BLOCK_BYTES    512U
#define MS_PER_S       1000U
#define NS_IN_MS       1000000
#define AGE_OF_FUTURE  0U
#define ITEMS_FIRST    16U
#define AGE_UNKNOWN_MS UINT64_MAX

struct gc {
	struct store *store;
	const struct gc_options *options;
	struct gc_result *result;
	size_t room;
	unsigned long current; /* 0: none */
	uint64_t now_ms;       /* since 1970 */
};

const char *gc_kind_name(enum gc_kind kind)
{
	static const char *const names[] = {"generation", "unfinished", "temporary", "lease"};

	return names[kind];
}

const char *gc_fate_name(enum gc_fate fate)
{
	static const char *const names[] = {"removed", "current", "kept",
					    "in-use",  "fresh",	  "failed"};

	return names[fate];
}

static struct gc_item *add_item(struct gc *gc, enum gc_kind kind, const char *folder,
				const char *name)
{
	struct gc_result *result = gc->result;
	struct gc_item *item;
	int n;

	if (result->n == gc->room) {
		size_t room = gc->room > 0 ? 2 * gc->room : ITEMS_FIRST;
		struct gc_item *bigger = reallocarray(result->items, room, sizeof(*bigger));

		if (!bigger)
			return NULL;
		result->items = bigger;
		gc->room = room;
	}
	item = &result->items[result->n];
	*item = (struct gc_item){.kind = kind, .fate = GC_REMOVED};
	n = snprintf(item->name, sizeof(item->name), "%s%s%s", folder, folder[0] ? "/" : "", name);
	if (n < 0 || (size_t)n >= sizeof(item->name))
		return NULL; /* NAME_MAX makes that impossible */
	result->n++;
	return item;
}

static int add_bytes(int dir_fd, const char *name, void *arg)
{
	uint64_t *sum = arg;
	snap_cleanup_close int fd = FD_NONE;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	/* a file with another name elsewhere stays on the disk */
	if (S_ISDIR(st.st_mode) || st.st_nlink == 1)
		*sum += (uint64_t)st.st_blocks * BLOCK_BYTES;
	if (!S_ISDIR(st.st_mode))
		return 0;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd >= 0)
		(void)folder_each(fd, add_bytes, sum);
	return 0;
}

static uint64_t age_of(const struct gc *gc, const struct stat *st)
{
	uint64_t changed = (uint64_t)st->st_mtim.tv_sec * MS_PER_S +
			   (uint64_t)(st->st_mtim.tv_nsec / NS_IN_MS);

	return gc->now_ms > changed ? gc->now_ms - changed : AGE_OF_FUTURE;
}

/* of the youngest of the folder and what a capture writes into it */
static uint64_t unfinished_age(const struct gc *gc, const char *name)
{
	static const char *const parts[] = {"", ("/" PAGES_DATA_NAME), ("/" DEVICE_DATA_NAME),
					    "/criu", "/files"};
	uint64_t youngest = AGE_UNKNOWN_MS;

	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		char path[NAME_MAX + 32];
		struct stat st;
		uint64_t age;

		(void)snprintf(path, sizeof(path), "%s%s", name, parts[i]);
		if (fstatat(gc->store->fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		age = age_of(gc, &st);
		if (age < youngest)
			youngest = age;
	}
	return youngest;
}

static int add_generation(int dir_fd, const char *name, void *arg)
{
	struct gc *gc = arg;
	unsigned long number = generation_number(name);
	struct gc_item *item;
	char path[NAME_MAX + 32];
	struct stat st;

	if (number == 0)
		return 0;
	item = add_item(gc, GC_GENERATION, "", name);
	if (!item)
		return -ENOMEM;
	(void)add_bytes(dir_fd, name, &item->bytes);
	(void)snprintf(path, sizeof(path), "%s/" MANIFEST_NAME, name);
	if (number == gc->current) {
		item->fate = GC_CURRENT;
	} else if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		item->kind = GC_UNFINISHED;
		if (unfinished_age(gc, name) < GC_RECOVER_MS)
			item->fate = GC_FRESH;
	} else if (number > gc->current && age_of(gc, &st) < GC_TRIAL_MS) {
		item->fate = GC_FRESH;
	}
	return 0;
}

static int compare_items(const void *a, const void *b)
{
	const struct gc_item *x = a, *y = b;
	unsigned long m = generation_number(x->name), n = generation_number(y->name);

	return (m > n) - (m < n);
}

static int list_generations(struct gc *gc)
{
	size_t first = gc->result->n;
	uint64_t left = gc->options->keep;
	int r = folder_each(gc->store->fd, add_generation, gc);

	if (r < 0)
		return r;
	if (gc->result->n > first)
		qsort(gc->result->items + first, gc->result->n - first, sizeof(struct gc_item),
		      compare_items);
	for (size_t i = gc->result->n; i > first && left > 0; i--) {
		struct gc_item *item = &gc->result->items[i - 1];

		if (item->kind != GC_GENERATION || item->fate == GC_CURRENT)
			continue;
		if (item->fate == GC_REMOVED)
			item->fate = GC_WANTED;
		left--;
	}
	return 0;
}

/* somebody who died between making and renaming them; under the lock and the lease */
static int add_temporary(int dir_fd, const char *name, void *arg)
{
	struct gc *gc = arg;
	struct gc_item *item;

	if (!store_name_is_temporary(name))
		return 0;
	item = add_item(gc, GC_TEMPORARY, "", name);
	if (!item)
		return -ENOMEM;
	(void)add_bytes(dir_fd, name, &item->bytes);
	return 0;
}

struct inside {
	struct gc *gc;
	const char *generation;
};

static int add_manifest_rest(int dir_fd, const char *name, void *arg)
{
	const struct inside *inside = arg;
	struct gc_item *item;

	if (strncmp(name, MANIFEST_TMP, strlen(MANIFEST_TMP)) != 0)
		return 0;
	item = add_item(inside->gc, GC_TEMPORARY, inside->generation, name);
	if (!item)
		return -ENOMEM;
	(void)add_bytes(dir_fd, name, &item->bytes);
	if (!inside->gc->options->dry_run && unlinkat(dir_fd, name, 0) < 0) {
		item->fate = GC_FAILED;
		item->errnum = errno;
	}
	return 0;
}

/* a wake that noted "verified" and died; one that is at it now holds the generation */
static int clean_kept(struct gc *gc, size_t i)
{
	char name[STORE_NAME_MAX];
	struct inside inside = {.gc = gc, .generation = name};
	snap_cleanup_close int fd = FD_NONE;

	(void)snprintf(name, sizeof(name), "%.*s", STORE_NAME_MAX - 1, gc->result->items[i].name);
	fd = openat(gc->store->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || generation_claim(fd) < 0)
		return 0;
	return folder_each(fd, add_manifest_rest, &inside);
}

static bool is_used(int store_fd, const char *name)
{
	snap_cleanup_close int fd =
		openat(store_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && generation_claim(fd) < 0;
}

static void remove_item(struct gc *gc, struct gc_item *item)
{
	int store_fd = gc->store->fd, r;

	if (gc->options->dry_run) {
		if (item->kind != GC_TEMPORARY && item->kind != GC_LEASE &&
		    is_used(store_fd, item->name))
			item->fate = GC_IN_USE;
		return;
	}
	if (item->kind == GC_LEASE)
		return; /* taking ours has removed it */
	if (item->kind == GC_TEMPORARY)
		r = unlinkat(store_fd, item->name, 0) < 0 ? -errno : 0;
	else
		r = generation_remove_unused(store_fd, item->name);
	if (r == -EBUSY)
		item->fate = GC_IN_USE;
	else if (r < 0 && r != -ENOENT) {
		item->fate = GC_FAILED;
		item->errnum = -r;
	}
}

static void sum_up(struct gc_result *result)
{
	for (size_t i = 0; i < result->n; i++) {
		const struct gc_item *item = &result->items[i];

		result->n_failed += item->fate == GC_FAILED;
		if (item->fate != GC_REMOVED)
			continue;
		result->n_removed++;
		result->freed_bytes += item->bytes;
	}
}

static int sweep(struct gc *gc)
{
	size_t n;
	int r;

	{
		snap_cleanup_close int lock = lease_lock(gc->store->fd);

		if (lock == -EBUSY)
			return -EBUSY;
		r = folder_each(gc->store->fd, add_temporary, gc);
		for (size_t i = 0; r == 0 && i < gc->result->n; i++)
			remove_item(gc, &gc->result->items[i]);
	}
	n = gc->result->n;
	if (r == 0)
		r = list_generations(gc);
	for (size_t i = n; r == 0 && i < gc->result->n; i++) {
		if (gc->result->items[i].fate == GC_REMOVED)
			remove_item(gc, &gc->result->items[i]);
	}
	n = gc->result->n;
	for (size_t i = 0; r == 0 && i < n; i++) {
		enum gc_fate fate = gc->result->items[i].fate;

		if (gc->result->items[i].kind == GC_GENERATION && fate != GC_REMOVED &&
		    fate != GC_FAILED)
			r = clean_kept(gc, i);
	}
	if (!gc->options->dry_run && fsync(gc->store->fd) < 0 && errno != EINVAL && r == 0)
		r = -errno;
	return r;
}

/* what an entry says about the folder it is in; a store has nothing but these */
static int note_entry(int dir_fd, const char *name, void *arg)
{
	bool *is_other = arg;
	bool is_known = generation_number(name) != 0 || store_name_is_temporary(name) ||
			strcmp(name, "current") == 0 || strcmp(name, "lease") == 0 ||
			strcmp(name, "kdat") == 0;

	(void)dir_fd;
	*is_other = !is_known;
	return is_known;
}

/* a folder with other things only; an empty one may be a store to come */
static bool is_no_store(const struct gc *gc)
{
	bool is_other = false;

	return folder_each(gc->store->fd, note_entry, &is_other) == 0 && is_other;
}

static int prepare(struct gc *gc, struct snap_error *err)
{
	char current[STORE_NAME_MAX] = "";
	int stale, r;

	if (is_no_store(gc))
		return snap_fail_plain(err, SNAP_E_NO_SNAPSHOT, ENOENT,
				       "there is no snapshot in it");
	stale = lease_probe(gc->store->fd, err);
	if (stale < 0)
		return stale;
	if (stale && !add_item(gc, GC_LEASE, "", "lease"))
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	if (!gc->options->dry_run) {
		r = store_take_lease(gc->store, GC_LEASE_MS, err);
		if (r < 0)
			return r;
	}
	/* under the lease: it stays what it is, or is retracted */
	r = store_current(gc->store, current, err);
	if (r < 0 && r != -ENOENT)
		return r;
	gc->current = generation_number(current);
	return 0;
}

int gc_run(struct store *store, const struct gc_options *options, struct gc_result *ret,
	   struct snap_error *err)
{
	struct gc gc = {.store = store, .options = options, .result = ret};
	struct timespec now;
	int r;

	*ret = (struct gc_result){.n = 0};
	(void)clock_gettime(CLOCK_REALTIME, &now);
	gc.now_ms = (uint64_t)now.tv_sec * MS_PER_S + (uint64_t)(now.tv_nsec / NS_IN_MS);
	r = prepare(&gc, err);
	if (r < 0) {
		snap_error_prefix(err, "store '%s'", store->path);
		return r;
	}
	r = sweep(&gc);
	sum_up(ret);
	if (r < 0)
		return snap_fail(err, r == -EBUSY ? SNAP_E_PREFLIGHT : SNAP_E_INTERNAL, -r,
				 "cannot clean up '%s'", store->path);
	if (err)
		*err = (struct snap_error){.code = SNAP_OK};
	return 0;
}

void gc_result_done(struct gc_result *result)
{
	free(result->items);
	*result = (struct gc_result){.n = 0};
}
