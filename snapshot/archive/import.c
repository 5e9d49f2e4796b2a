/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The order of steps: the manifest is read before the store is touched; the generation is made and
 * held under the lease, like a capture's; manifest.json is written last, and then it is published
 * as any other. Whoever kills us leaves an unfinished generation, which the next publisher or gc
 * removes.
 *
 * Who feeds us may take hours, or stop: the lease is given up while we read. What keeps others from
 * the half-made generation is the lock on it. Where there are no locks the lease has to do that,
 * and an input that gives nothing for a minute is the end of it.
 */

#include "snapshot/archive/import.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "snapshot/archive/unpack.h"
#include "snapshot/generation.h"
#include "snapshot/manifest_json.h"

#define LEASE_MS	  (2U * 3600 * 1000) /* where it is kept */
#define STALL_MS	  60000
#define PUBLISH_WAIT_MS	  (5U * 60 * 1000) /* a capture at work has mostly two minutes */
#define PUBLISH_PAUSE_NS  100000000L
#define SPACE_SLACK_BYTES ((uint64_t)16 << 20)
#define DRAIN_BYTES_MAX	  (1U << 20)
#define DRAIN_WAIT_MS	  1000

struct import {
	struct unpack unpack;
	struct store store;
	int gen_fd;
	struct import_result *result;
};

static int check_space(void *arg, uint64_t bytes, struct snap_error *err)
{
	const struct import *import = arg;

	return store_check_space(&import->store, bytes + SPACE_SLACK_BYTES, err);
}

/* as it came but for the name, so that members of a later version stay in it */
static int write_manifest(const struct import *import, struct snap_error *err)
{
	const struct unpack *u = &import->unpack;
	snap_cleanup_free char *text = NULL;
	size_t size;
	int r = manifest_rename(u->text, u->text_size, import->result->generation, &text, &size,
				err);

	if (r < 0)
		return r;
	return io_replace_file(import->gen_fd, MANIFEST_NAME, text, size, 0600, err);
}

static int fill(struct import *import, struct snap_error *err)
{
	int r;

	import->gen_fd = store_hold_generation(&import->store, import->result->generation, err);
	if (import->gen_fd < 0)
		return import->gen_fd;
	if (generation_is_locked(import->gen_fd))
		store_give_up_lease(&import->store);
	else
		import->unpack.stall_ms =
			import->unpack.talk->stall_ms ? import->unpack.talk->stall_ms : STALL_MS;
	r = unpack_members(&import->unpack, import->gen_fd, check_space, import, err);
	return r == 0 ? write_manifest(import, err) : r;
}

/* somebody may capture just now: all that we have read is worth some waiting */
static int take_lease(struct import *import, struct snap_error *err)
{
	const struct timespec pause = {.tv_nsec = PUBLISH_PAUSE_NS};
	uint64_t deadline_ns = deadline_after_ms(PUBLISH_WAIT_MS);
	const atomic_bool *stop = import->unpack.talk->stop;
	int r = import->store.holds_lease ? 0
					  : store_take_lease(&import->store, PUBLISH_LEASE_MS, err);

	while (r == -EBUSY && deadline_left_ms(deadline_ns) > 0) {
		if (stop && atomic_load(stop))
			return snap_fail_plain(err, SNAP_E_INTERNAL, ECANCELED, "stopped");
		(void)nanosleep(&pause, NULL);
		r = store_take_lease(&import->store, PUBLISH_LEASE_MS, err);
	}
	return r;
}

static int make_generation(struct import *import, struct snap_error *err)
{
	const struct unpack *u = &import->unpack;
	struct import_result *result = import->result;
	uint64_t bytes =
		u->members.bytes > u->m.snapshot_bytes ? u->members.bytes : u->m.snapshot_bytes;
	int r = bytes > INT64_MAX ? snap_fail_plain(err, SNAP_E_CORRUPT, EOVERFLOW,
						    MANIFEST_NAME ": larger than any disk")
				  : check_space(import, bytes, err);

	if (r == 0)
		r = store_begin(&import->store, NULL, LEASE_MS, result->generation, err);
	if (r < 0)
		return r;
	r = fill(import, err);
	if (r == 0)
		r = take_lease(import, err);
	if (r == 0)
		r = store_publish(&import->store, result->generation, err);
	if (r < 0)
		store_abort(&import->store, result->generation);
	import->gen_fd = fd_close(import->gen_fd);
	return r;
}

/* padding behind the archive's end: who writes into a pipe shall not die of it */
static void drain(const struct unpack *u)
{
	struct pollfd pfd = {.fd = u->from, .events = POLLIN};
	size_t left = DRAIN_BYTES_MAX;
	ssize_t n = 1;

	/* who has nothing more to give may keep the pipe open for as long as they like */
	while (n > 0 && left > 0 && poll(&pfd, 1, DRAIN_WAIT_MS) > 0) {
		n = read(u->from, u->buf, left < PAGES_CHUNK_MAX ? left : PAGES_CHUNK_MAX);
		left -= n > 0 ? (size_t)n : 0;
	}
}

int import_archive(int from, const char *store_path, const struct archive_talk *talk,
		   struct import_result *ret, struct snap_error *err)
{
	struct import import = {.store = {.fd = FD_NONE}, .gen_fd = FD_NONE, .result = ret};
	struct stat st;
	bool was_absent = lstat(store_path, &st) < 0 && errno == ENOENT;
	int r;

	*ret = (struct import_result){.verified = false};
	r = unpack_begin(&import.unpack, from, talk, err);
	if (r < 0)
		return r;
	(void)snprintf(ret->was, sizeof(ret->was), "%s", import.unpack.m.generation);
	ret->verified = import.unpack.m.verified;
	ret->snapshot_bytes = import.unpack.m.snapshot_bytes;
	r = store_open(&import.store, store_path, true, err);
	if (r == 0)
		r = make_generation(&import, err);
	ret->archive = import.unpack.result;
	if (r == 0)
		drain(&import.unpack);
	store_close(&import.store);
	/* empty then, unless somebody else has begun to use it */
	if (r < 0 && was_absent)
		(void)rmdir(store_path);
	unpack_done(&import.unpack);
	return r;
}
