/* SPDX-License-Identifier: Apache-2.0 */
/* The generation in the store: begun before the freeze, sealed and published after it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/capture_internal.h"
#include "snapshot/identity.h"
#include "snapshot/images.h"

#define LEASE_SLACK_MS 60000U

int capture_step_store(void *context, struct snap_error *err)
{
	struct capture *c = context;
	uint64_t lease_ms =
		c->config->dump_timeout_ms + c->config->quiet_timeout_ms + LEASE_SLACK_MS;
	int r = store_open(&c->store, c->config->store_path, true, err);

	if (r == 0)
		r = store_begin(&c->store, c->config->generation, lease_ms, c->result->generation,
				err);
	if (r < 0)
		return r;
	c->begun = true;
	c->gen_fd = store_hold_generation(&c->store, c->result->generation, err);
	if (c->gen_fd < 0)
		return c->gen_fd;
	if (mkdirat(c->gen_fd, "criu", 0700) < 0)
		return snap_fail(err, SNAP_E_DUMP, errno, "cannot make criu/");

	/* both only save time: at this dump, and at every wake */
	(void)kdat_make(&c->store, &c->program, &c->m.host, c->m.unprivileged,
			&c->result->cache_err);
	kdat_find(&c->store, &c->program, &c->m.host, c->m.unprivileged, &c->kdat);
	return 0;
}

void capture_undo_store(void *context)
{
	struct capture *c = context;

	c->gen_fd = fd_close(c->gen_fd);
	if (c->begun && !c->has_holes)
		store_abort(&c->store, c->result->generation);
	c->begun = false;
}

static int dup_string(char **ret, const char *text)
{
	*ret = text ? strdup(text) : NULL;
	return text && !*ret ? -ENOMEM : 0;
}

static int fill_texts(struct capture *c)
{
	time_t now = time(NULL);
	char created[32];
	struct tm tm;
	int r;

	(void)gmtime_r(&now, &tm);
	(void)strftime(created, sizeof(created), "%Y-%m-%dT%H:%M:%SZ", &tm);
	r = dup_string(&c->m.created, created);
	if (r == 0)
		r = dup_string(&c->m.snapinit_version, SNAP_VERSION);
	if (r == 0)
		r = dup_string(&c->m.generation, c->result->generation);
	if (r == 0)
		r = dup_string(&c->m.ready, c->config->engine.ready);
	for (int i = 0; r == 0 && i < 3; i++)
		r = dup_string(&c->m.stdio[i], c->config->stdio[i]);
	return r;
}

int capture_step_seal(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = fill_texts(c);

	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot fill the manifest");
	c->m.schema = MANIFEST_SCHEMA;
	c->m.pages_bytes = c->evacuation.written.stored_bytes;
	r = identity_take(c->config->engine.argv, environ, engine_adapter_name(&c->engine), NULL,
			  &c->m.identity, err);
	if (r == 0)
		r = images_collect(c->gen_fd, &c->m, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < c->m.n_images; i++)
		c->m.snapshot_bytes += c->m.images[i].size;
	c->m.snapshot_bytes += c->evacuation.written.written_bytes;
	c->m.snapshot_bytes += c->gpu.files.written.written_bytes;
	c->result->snapshot_bytes = c->m.snapshot_bytes;
	/* waiting for the engine to boot is not our work */
	for (size_t i = 0; i < c->result->times.n; i++) {
		if (strcmp(c->result->times.names[i], "ready") != 0)
			c->m.capture_ms += c->result->times.dur_ns[i] / NS_PER_MS;
	}
	return manifest_save(c->gen_fd, &c->m, err);
}

int capture_step_verify(void *context, struct snap_error *err)
{
	struct capture *c = context;
	const struct capture_talk *talk = &c->config->talk;
	int r;

	if (c->m.gpu.mode) {
		(void)snap_fail_plain(&c->result->verify_err, SNAP_E_GPU, ENOMEM,
				      "a second engine beside this one may not fit its GPU");
		return 0;
	}
	r = talk->verify ? talk->verify(talk->arg, &c->m, &c->result->verify_err) : 1;

	c->result->verified = r == 0;
	if (r < 0 && err)
		*err = c->result->verify_err;
	return r < 0 ? r : 0;
}

int capture_step_publish(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = c->config->generation ? store_finish(&c->store, c->result->generation, err)
				      : store_publish(&c->store, c->result->generation, err);

	if (r == 0)
		c->begun = false;
	return r;
}
