/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine gives back before it is captured, and takes again. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "engine/release.h"
#include "snapshot/capture_internal.h"

#define RELEASE_MS	30000U
#define HANG_UP_MS	2000U
#define RECLAIM_MS	60000U
#define HANG_UP_POLL_MS 2U

static void thaw(struct capture *c, bool ended)
{
	if (c->announced)
		c->config->talk.thawed(c->config->talk.arg, ended);
	c->announced = false;
}

/* an engine that stays without its memory answers nobody: PID 1 looks at it */
static int reclaim(struct capture *c, struct snap_error *err)
{
	int r = c->released ? engine_reclaim(&c->engine, deadline_after_ms(RECLAIM_MS), err) : 0;

	c->released = false;
	if (r < 0)
		c->result->may_be_harmed = true;
	return r;
}

static int note_reclaim(struct capture *c, struct snap_error *err)
{
	char request[sizeof(struct engine_request) + 64];
	int r = engine_request_format(&c->engine.reclaim, request, sizeof(request));

	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the request for reclaim");
	if (c->engine.reclaim.method[0] == '\0')
		return 0;
	c->m.reclaim_request = strdup(request);
	return c->m.reclaim_request ? 0 : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}

/*
 * A connection that both ends have shut down is in no table, yet the engine has it until it closes
 * the descriptor, and CRIU refuses it without NET_ADMIN. Nothing is wrong where that takes long.
 */
static void await_hang_up(struct capture *c)
{
	uint64_t deadline = deadline_after_ms(HANG_UP_MS), resident;
	struct audit_report report;

	while (capture_audit_once(c, &report, &resident, NULL) == 0 &&
	       (report.n > 0 || report.n_sockets > c->n_sockets) && deadline_left_ms(deadline) > 0)
		(void)usleep(HANG_UP_POLL_MS * 1000);
}

/*
 * Not before the capture is known to be allowed, and not before PID 1 is told: it looks at the
 * engine if we die from here on. What fails here makes a larger snapshot, no worse one.
 */
int capture_step_release(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct snap_error *why = &c->result->release_err;
	int r = c->config->talk.freeze(c->config->talk.arg, capture_gpu_freezes(&c->gpu), err);

	if (r < 0)
		return r;
	c->announced = true;
	if (!engine_can_release(&c->engine)) {
		if (engine_release_hint(&c->engine))
			(void)snap_fail_plain(why, SNAP_E_NOT_READY, 0, "%s",
					      engine_release_hint(&c->engine));
		return 0;
	}
	if (!c->is_idle) {
		(void)snap_fail_plain(why, SNAP_E_NOT_READY, EBUSY,
				      "the engine has open connections");
		return 0;
	}
	r = engine_release(&c->engine, deadline_after_ms(RELEASE_MS), why);
	await_hang_up(c);
	if (r == ENGINE_NOT_RELEASED)
		return 0;
	c->released = true;
	/* late or cut short: it may still do it, so it must take all again */
	if (r < 0) {
		r = reclaim(c, err);
		await_hang_up(c);
		return r;
	}
	c->result->released = true;
	return note_reclaim(c, err);
}

void capture_undo_release(void *context)
{
	struct capture *c = context;

	if (!c->result->may_be_harmed)
		(void)reclaim(c, NULL);
	if (!c->result->may_be_harmed)
		thaw(c, false);
	c->announced = false;
}

/* signals go on only now: an engine that is to end wants its memory, too */
int capture_step_reclaim(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = c->config->end_engine ? 0 : reclaim(c, err);

	if (r == 0)
		thaw(c, c->config->end_engine);
	return r;
}
