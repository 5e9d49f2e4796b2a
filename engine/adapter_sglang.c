/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "engine/adapter.h"
#include "engine/python_server.h"

/*
 * SGLang's server. Only the KV cache is released: weights would be lost without
 * --enable-weights-cpu-backup. Its scheduler ends itself when it is told to release while it
 * works, or to resume what it has not released.
 */

#define TAGS "{\"tags\":[\"kv_cache\"]}"

static const struct python_server sglang = {
	.name = "SGLang",
	.command = {"sglang", "serve"},
	.module = "sglang.launch_server",
	.port = 30000,
};

static bool recognises(const struct engine_config *config)
{
	return python_server_options(&sglang, config->argv) != NULL;
}

static int set_ready(struct engine *engine, struct snap_error *err)
{
	int r = python_server_request(&sglang, engine, "GET", "/health", &engine->ready, err);

	engine->ready_kind = ENGINE_READY_HTTP;
	return r;
}

static int set_release(struct engine *engine, struct snap_error *err)
{
	int r;

	/* without it the server answers 200 and frees nothing */
	if (!python_server_flag(&sglang, engine, "enable-memory-saver")) {
		engine->release_hint = "SGLang is to be started with --enable-memory-saver";
		return 0;
	}
	r = python_server_request(&sglang, engine, "POST", "/release_memory_occupation",
				  &engine->release, err);
	if (r == 0)
		r = python_server_request(&sglang, engine, "POST", "/resume_memory_occupation",
					  &engine->reclaim, err);
	(void)snprintf(engine->release.body, sizeof(engine->release.body), TAGS);
	(void)snprintf(engine->reclaim.body, sizeof(engine->reclaim.body), TAGS);
	return r;
}

static int authorize(const struct engine *engine, const struct engine_request *request,
		     char buf[HTTP_AUTHORIZATION_MAX], struct snap_error *err)
{
	const char *admin = python_server_option(&sglang, engine, "admin-api-key");
	bool is_admins = strstr(request->path, "_memory_occupation") != NULL;
	const char *key = python_server_option(&sglang, engine, "api-key");

	return python_server_authorize(&sglang, engine, request, admin && is_admins ? admin : key,
				       buf, err);
}

const struct engine_adapter adapter_sglang = {
	.name = "sglang",
	.recognises = recognises,
	.set_ready = set_ready,
	.set_release = set_release,
	.authorize = authorize,
};
