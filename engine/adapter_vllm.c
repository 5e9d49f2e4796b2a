/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>
#include <stdlib.h>

#include "engine/adapter.h"
#include "engine/engine_ask.h"
#include "engine/python_server.h"

/*
 * vLLM's server. Its sleep mode, level 1, moves the weights to host memory and drops the KV cache.
 * Level 2 drops the weights too, but POST /wake_up alone does not load them again.
 */

static const struct python_server vllm = {
	.name = "vLLM",
	.command = {"vllm", "serve"},
	.module = "vllm.entrypoints.openai.api_server",
	.port = 8000,
};

static bool recognises(const struct engine_config *config)
{
	return python_server_options(&vllm, config->argv) != NULL;
}

static int set_ready(struct engine *engine, struct snap_error *err)
{
	int r = python_server_request(&vllm, engine, "GET", "/health", &engine->ready, err);

	engine->ready_kind = ENGINE_READY_HTTP;
	return r;
}

static int set_release(struct engine *engine, struct snap_error *err)
{
	int r;

	/* without it some versions answer 200 and free nothing, others end themselves */
	if (!python_server_flag(&vllm, engine, "enable-sleep-mode")) {
		engine->release_hint = "vLLM is to be started with --enable-sleep-mode, and with "
				       "VLLM_SERVER_DEV_MODE=1 in its environment";
		return 0;
	}
	r = python_server_request(&vllm, engine, "POST", "/sleep?level=1", &engine->release, err);
	if (r == 0)
		r = python_server_request(&vllm, engine, "POST", "/wake_up", &engine->reclaim, err);
	return r;
}

static int is_released(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	snap_cleanup_http_response struct http_response response = {0};
	struct engine_request request = {.method = ""};
	json_t *root, *word;
	int r = python_server_request(&vllm, engine, "GET", "/is_sleeping", &request, err);

	if (r == 0)
		r = engine_ask(engine, &request, deadline_ns, &response, err);
	/* what cannot be asked cannot have been told either */
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	root = json_loadb(response.body, response.body_size, 0, NULL);
	word = json_object_get(root, "is_sleeping");
	r = json_is_boolean(word) ? json_is_true(word)
				  : snap_fail(err, SNAP_E_NOT_READY, EPROTO,
					      "vLLM does not tell whether it sleeps");
	json_decref(root);
	return r;
}

static int release(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	snap_cleanup_http_response struct http_response response = {0};
	int r = engine_ask(engine, &engine->release, deadline_ns, &response, err);

	if (r == -ENOENT)
		snap_error_prefix(err, "vLLM has no sleep mode here: set VLLM_SERVER_DEV_MODE=1 "
				       "in its environment");
	/* one of several workers may have failed: those that sleep are to be woken */
	if (r == -EIO && is_released(engine, deadline_ns, NULL) != 0)
		return -EREMOTEIO;
	return r;
}

static int authorize(const struct engine *engine, const struct engine_request *request,
		     char buf[HTTP_AUTHORIZATION_MAX], struct snap_error *err)
{
	const char *key = python_server_option(&vllm, engine, "api-key");

	return python_server_authorize(&vllm, engine, request, key ? key : getenv("VLLM_API_KEY"),
				       buf, err);
}

const struct engine_adapter adapter_vllm = {
	.name = "vllm",
	.recognises = recognises,
	.set_ready = set_ready,
	.set_release = set_release,
	.release = release,
	.is_released = is_released,
	.authorize = authorize,
};
