/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/adapter.h"

/* Any service that is ready when it accepts connections. */

static bool recognises(const struct engine_config *config)
{
	return config->ready && strncmp(config->ready, "tcp:", 4) == 0;
}

static int set_ready(struct engine *engine, struct snap_error *err)
{
	(void)engine;
	return snap_fail(err, SNAP_E_USAGE, EINVAL, "engine 'tcp' needs --ready tcp:ADDRESS:PORT");
}

const struct engine_adapter adapter_tcp = {
	.name = "tcp",
	.recognises = recognises,
	.set_ready = set_ready,
};
