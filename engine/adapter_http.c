/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/adapter.h"

/* Any HTTP service: ready when the user's URL answers; the oracle is the user's, too. */

static bool recognises(const struct engine_config *config)
{
	return config->ready && strncmp(config->ready, "http://", 7) == 0;
}

static int set_ready(struct engine *engine, struct snap_error *err)
{
	(void)engine;
	return snap_fail(err, SNAP_E_USAGE, EINVAL,
			 "engine 'http' needs --ready http://ADDRESS:PORT/PATH");
}

/* the first request of many services is the slow one; the second shows that it stays warm */
static int set_warmup(struct engine *engine, struct snap_error *err)
{
	(void)err;
	engine->warmup = engine->oracle;
	engine->warmup_count = engine_has_oracle(engine) ? 2 : 0;
	return 0;
}

const struct engine_adapter adapter_http = {
	.name = "http",
	.recognises = recognises,
	.set_ready = set_ready,
	.set_warmup = set_warmup,
};
