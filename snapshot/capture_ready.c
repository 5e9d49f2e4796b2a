/* SPDX-License-Identifier: Apache-2.0 */
/* The engine comes up, and what is asked of it while it runs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "snapshot/capture_internal.h"
#include "snapshot/cold_boot.h"
#include "snapshot/fingerprint.h"

#define ENGINE_STEP_MS 60000U /* warm-up and oracle, each */
#define CRIU_ANSWER_MS 5000U

static int take_host(struct capture *c, struct snap_error *err)
{
	int r = criu_program_find(c->config->criu, &c->program, err);
	struct criu_start none = {0};

	if (r == 0)
		r = criu_session_open(&c->program, &none, &c->session, err);
	if (r == 0)
		r = criu_session_ask_version(&c->session, err);
	if (r == 0)
		r = criu_session_version(&c->session, deadline_after_ms(CRIU_ANSWER_MS), err);
	if (r == 0)
		r = fingerprint_take(c->session.version, c->program.build_id, &c->m.host, err);
	criu_session_close(&c->session);
	return r;
}

int capture_step_engine(void *context, struct snap_error *err)
{
	struct capture *c = context;
	int r = engine_init(&c->engine, &c->config->engine, err);

	if (r < 0)
		return r;
	if (engine_readiness_is_unknown(&c->engine, &c->config->engine))
		return snap_fail_plain(
			err, SNAP_E_USAGE, EINVAL,
			"when '%s' is ready is not known; give --ready http://HOST:PORT/PATH, "
			"tcp:HOST:PORT, exec:COMMAND, fd or notify (none: as soon as it runs)",
			c->config->engine.argv[0]);
	return 0;
}

int capture_step_rights(void *context, struct snap_error *err)
{
	struct capture *c = context;
	const char *setting;
	int r = take_host(c, err);

	if (r < 0)
		return r;
	setting = c->m.host.setting;
	if (strcmp(setting, "C") == 0)
		return snap_fail_plain(
			err, SNAP_E_PREFLIGHT, EPERM,
			"setting C: a seccomp filter is on this container, CRIU cannot dump under "
			"one; capture with seccomp=unconfined or on the host with snapctl create");
	if (strcmp(setting, "none") == 0)
		return snap_fail_plain(
			err, SNAP_E_PREFLIGHT, EPERM,
			"no right to dump: CAP_CHECKPOINT_RESTORE and CAP_SETPCAP are needed (%s)",
			geteuid() == 0
				? "--cap-add CHECKPOINT_RESTORE"
				: "--cap-add CHECKPOINT_RESTORE, and for a user other than root "
				  "setcap cap_checkpoint_restore,cap_setpcap=ep on snapworker");
	c->m.unprivileged = strcmp(setting, "A") != 0;
	return 0;
}

int capture_step_ready(void *context, struct snap_error *err)
{
	struct capture *c = context;
	const struct capture_config *config = c->config;
	const struct cold_boot_wait wait = {
		.engine = &c->engine,
		.root_pid = config->root_pid,
		.deadline_ns = deadline_after_ms(config->ready_timeout_ms),
		.hear = config->talk.wait_engine,
		.arg = config->talk.arg,
	};
	int r = cold_boot_await(&wait, &c->m.cold_boot_ms, err);

	if (r < 0)
		return r;
	if (config->cold_boot_ms != CAPTURE_TIMES_COLD_BOOT)
		c->m.cold_boot_ms = config->cold_boot_ms;
	config->talk.ready(config->talk.arg, c->m.cold_boot_ms);
	return 0;
}

/* the driver starts while the engine is asked this and that */
int capture_step_gpu_start(void *context, struct snap_error *err)
{
	struct capture *c = context;

	return capture_gpu_start(&c->gpu, c->config->root_pid, &c->m.gpu, err);
}

int capture_step_warm_up(void *context, struct snap_error *err)
{
	struct capture *c = context;

	return engine_warm_up(&c->engine, deadline_after_ms(ENGINE_STEP_MS), err);
}

int capture_step_oracle(void *context, struct snap_error *err)
{
	struct capture *c = context;
	char request[sizeof(struct engine_request) + 64];
	size_t size;
	int r;

	if (!engine_has_oracle(&c->engine))
		return 0;
	r = engine_ask_oracle(&c->engine, deadline_after_ms(ENGINE_STEP_MS), &c->m.oracle_answer,
			      &size, err);
	if (r < 0)
		return r;
	r = engine_request_format(&c->engine.oracle, request, sizeof(request));
	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot note the oracle's request");
	c->m.oracle_request = strdup(request);
	return c->m.oracle_request ? 0 : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}
