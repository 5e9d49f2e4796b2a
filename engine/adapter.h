/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_ENGINE_ADAPTER_H
#define SNAP_ENGINE_ADAPTER_H

/*
 * What is known about one kind of engine, as a table of functions; adapter.c lists the tables in
 * the order in which "auto" asks them. A NULL function means that the kind knows nothing there.
 * An adapter is asked only for what the user left open.
 */

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"
#include "engine/http.h"

struct engine_adapter {
	const char *name;

	/* is this the kind of the command, or of the user's readiness? */
	bool (*recognises)(const struct engine_config *config);

	/* fill in ready_kind and ready; oracle; warmup and its default count. 0 or -EINVAL */
	int (*set_ready)(struct engine *engine, struct snap_error *err);
	int (*set_oracle)(struct engine *engine, struct snap_error *err);
	int (*set_warmup)(struct engine *engine, struct snap_error *err);

	/* release and reclaim, or release_hint (engine/release.h); 0 or -EINVAL */
	int (*set_release)(struct engine *engine, struct snap_error *err);

	/* where it takes more than one request; as engine_ask() returns */
	int (*release)(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err);

	/* 1 the engine is without its memory, 0 it has it, -errno */
	int (*is_released)(const struct engine *engine, uint64_t deadline_ns,
			   struct snap_error *err);

	/*
	 * Value of the Authorization field of a request: 0 and buf, or an empty buf where none is
	 * due; -errno. Called for every request; buf is wiped after use.
	 */
	int (*authorize)(const struct engine *engine, const struct engine_request *request,
			 char buf[HTTP_AUTHORIZATION_MAX], struct snap_error *err);

	/*
	 * The part of a response that must not change, as fresh memory: 0; ADAPTER_WHOLE_BODY for
	 * all of it; -errno.
	 */
	int (*pick_answer)(const struct http_response *response, char **ret_answer,
			   size_t *ret_size, struct snap_error *err);
};

#define ADAPTER_WHOLE_BODY 1

extern const struct engine_adapter adapter_llama_server;
extern const struct engine_adapter adapter_vllm;
extern const struct engine_adapter adapter_sglang;
extern const struct engine_adapter adapter_http;
extern const struct engine_adapter adapter_tcp;
extern const struct engine_adapter adapter_none;

/* by name, "auto" and NULL by recognition; NULL with a message for an unknown name */
const struct engine_adapter *adapter_find(const struct engine_config *config,
					  struct snap_error *err);

#endif
