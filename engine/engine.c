/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "engine/adapter.h"
#include "engine/address.h"
#include "engine/engine_ask.h"
#include "engine/engine_request.h"
#include "engine/probe.h"
#include "engine/release.h"

/* one try may hang in an engine that accepts but does not answer yet */
#define TRY_MS 5000

static const struct {
	const char *word;
	enum engine_ready_kind kind;
} ready_words[] = {
	{"none", ENGINE_READY_NONE},
	{"fd", ENGINE_READY_FD},
	{"notify", ENGINE_READY_NOTIFY},
};

static int ready_parse(const char *text, struct engine *engine, struct snap_error *err)
{
	for (size_t i = 0; i < ARRAY_LEN(ready_words); i++) {
		if (strcmp(text, ready_words[i].word) == 0) {
			engine->ready_kind = ready_words[i].kind;
			return 0;
		}
	}
	if (strncmp(text, "exec:", 5) == 0 && text[5] != '\0') {
		engine->ready_kind = ENGINE_READY_EXEC;
		engine->ready_command = text + 5;
		return 0;
	}
	if (strncmp(text, "http://", 7) == 0) {
		engine->ready_kind = ENGINE_READY_HTTP;
		(void)snprintf(engine->ready.method, sizeof(engine->ready.method), "GET");
		return engine_request_set_url(&engine->ready, text, strlen(text), err);
	}
	if (strncmp(text, "tcp:", 4) == 0) {
		engine->ready_kind = ENGINE_READY_TCP;
		return address_parse(text + 4, strlen(text + 4), 0, engine->ready.host,
				     &engine->ready.port, err);
	}
	return snap_fail(
		err, SNAP_E_USAGE, EINVAL,
		"readiness '%.200s' is none of http://ADDRESS:PORT/PATH, tcp:ADDRESS:PORT, "
		"exec:COMMAND, fd, notify, none",
		text);
}

static int init_ready(struct engine *engine, const struct engine_config *config,
		      struct snap_error *err)
{
	if (config->ready)
		return ready_parse(config->ready, engine, err);
	return engine->adapter->set_ready ? engine->adapter->set_ready(engine, err) : 0;
}

static int init_oracle(struct engine *engine, const struct engine_config *config,
		       struct snap_error *err)
{
	if (config->oracle)
		return engine_request_parse(config->oracle, &engine->oracle, err);
	return engine->adapter->set_oracle ? engine->adapter->set_oracle(engine, err) : 0;
}

static int init_warmup(struct engine *engine, const struct engine_config *config,
		       struct snap_error *err)
{
	int r;

	if (config->warmup == 0)
		return 0;
	if (engine->adapter->set_warmup) {
		r = engine->adapter->set_warmup(engine, err);
		if (r < 0)
			return r;
	}
	if (config->warmup < 0)
		return 0;
	if (engine->warmup.method[0] == '\0')
		engine->warmup = engine->oracle;
	if (engine->warmup.method[0] == '\0')
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "nothing to warm engine '%s' up with: give --oracle",
				 engine->adapter->name);
	engine->warmup_count = config->warmup;
	return 0;
}

int engine_init(struct engine *engine, const struct engine_config *config, struct snap_error *err)
{
	int r;

	*engine = (struct engine){.argv = config->argv};
	engine->adapter = adapter_find(config, err);
	if (!engine->adapter)
		return -EINVAL;
	r = init_ready(engine, config, err);
	if (r == 0)
		r = init_oracle(engine, config, err);
	if (r == 0)
		r = init_warmup(engine, config, err);
	if (r == 0)
		r = engine_init_release(engine, config, err);
	return r;
}

bool engine_readiness_is_unknown(const struct engine *engine, const struct engine_config *config)
{
	bool is_auto = !config->adapter || strcmp(config->adapter, "auto") == 0;

	return is_auto && !config->ready && engine->ready_kind == ENGINE_READY_NONE;
}

const char *engine_adapter_name(const struct engine *engine)
{
	return engine->adapter->name;
}

static int probe_ready_http(const struct engine *engine, uint64_t deadline_ns,
			    struct snap_error *err)
{
	char authorization[HTTP_AUTHORIZATION_MAX];
	int r = engine_authorize(engine, &engine->ready, authorization, err);

	if (r == 0)
		r = probe_http(&engine->ready, authorization[0] ? authorization : NULL, deadline_ns,
			       err);
	explicit_bzero(authorization, sizeof(authorization));
	return r;
}

int engine_probe_ready(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	switch (engine->ready_kind) {
	case ENGINE_READY_NONE:
		return 0;
	case ENGINE_READY_HTTP:
		return probe_ready_http(engine, deadline_ns, err);
	case ENGINE_READY_TCP:
		return probe_tcp(engine->ready.host, engine->ready.port, deadline_ns, err);
	case ENGINE_READY_EXEC:
		return probe_exec(engine->ready_command, deadline_ns, err);
	case ENGINE_READY_FD:
	case ENGINE_READY_NOTIFY:
		break;
	}
	return snap_fail(err, SNAP_E_INTERNAL, EINVAL,
			 "this readiness is told to PID 1, not asked");
}

int engine_wait_ready(const struct engine *engine, uint64_t deadline_ns, int (*alive)(void *arg),
		      void *arg, struct snap_error *err)
{
	uint64_t start_ns = clock_now_ns();
	struct snap_error seen = {0}, last = {0};

	for (;;) {
		uint64_t try_ns = deadline_after_ms(TRY_MS);
		int r = alive ? alive(arg) : 0;

		if (r != 0)
			return r;
		r = engine_probe_ready(engine, try_ns < deadline_ns ? try_ns : deadline_ns, &seen);
		if (r != PROBE_NOT_YET) {
			if (r < 0 && err)
				*err = seen;
			return r;
		}
		/* a try that our own deadline cuts short saw less than those before it */
		if (last.msg[0] == '\0' || seen.errnum != ETIMEDOUT)
			last = seen;
		if (deadline_left_ms(deadline_ns) == 0)
			break;
		engine_pause(start_ns, deadline_ns);
	}
	snap_error_prefix(&last, "not ready after %llu ms",
			  (unsigned long long)((clock_now_ns() - start_ns) / NS_PER_MS));
	if (err)
		*err = last;
	return -ETIMEDOUT;
}

int engine_warm_up(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	for (int i = 0; i < engine->warmup_count; i++) {
		snap_cleanup_http_response struct http_response response = {0};
		int r = engine_ask(engine, &engine->warmup, deadline_ns, &response, err);

		if (r < 0) {
			snap_error_prefix(err, "warm-up %d of %d", i + 1, engine->warmup_count);
			return r;
		}
	}
	return 0;
}
