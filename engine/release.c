/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/release.h"

#include "common/clock.h"
#include "engine/adapter.h"
#include "engine/engine_ask.h"

static bool is_set(const struct engine_request *request)
{
	return request->method[0] != '\0';
}

static int parse(const char *option, const char *text, struct engine_request *ret,
		 struct snap_error *err)
{
	int r = engine_request_parse(text, ret, err);

	if (r < 0)
		snap_error_prefix(err, "%s", option);
	return r;
}

int engine_init_release(struct engine *engine, const struct engine_config *config,
			struct snap_error *err)
{
	int r;

	if (!config->release && config->reclaim)
		return snap_fail(err, SNAP_E_USAGE, EINVAL, "--reclaim needs --release");
	engine->release_is_users = config->release != NULL;
	if (!config->release) {
		/* nobody has asked for it: what cannot be asked is no fault */
		if (engine->adapter->set_release && engine->adapter->set_release(engine, NULL) < 0)
			engine->release = engine->reclaim = (struct engine_request){.method = ""};
		return 0;
	}
	r = parse("--release", config->release, &engine->release, err);
	if (r == 0 && config->reclaim)
		r = parse("--reclaim", config->reclaim, &engine->reclaim, err);
	if (r == 0 && is_set(&engine->reclaim) && !is_set(&engine->release))
		r = snap_fail(err, SNAP_E_USAGE, EINVAL, "--reclaim needs a --release");
	return r;
}

bool engine_can_release(const struct engine *engine)
{
	return is_set(&engine->release);
}

const char *engine_release_hint(const struct engine *engine)
{
	return engine->release_hint;
}

static int ask(const struct engine *engine, const struct engine_request *request,
	       uint64_t deadline_ns, struct snap_error *err)
{
	snap_cleanup_http_response struct http_response response = {0};

	return engine_ask(engine, request, deadline_ns, &response, err);
}

int engine_release(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	bool is_adapters = !engine->release_is_users && engine->adapter->release;
	int r = is_adapters ? engine->adapter->release(engine, deadline_ns, err)
			    : ask(engine, &engine->release, deadline_ns, err);

	/* a status is a refusal, and who does not listen has not heard it */
	if (r == -EIO || r == -ENOENT || r == -EAGAIN || r == -ECONNREFUSED || r == -EINVAL)
		return ENGINE_NOT_RELEASED;
	return r;
}

int engine_reclaim(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	uint64_t start_ns = clock_now_ns();
	int r;

	if (!is_set(&engine->reclaim))
		return 0;
	for (;;) {
		r = ask(engine, &engine->reclaim, deadline_ns, err);
		/* it has not come to an answer yet; all else is its answer */
		if ((r != -ECONNREFUSED && r != -EAGAIN) || deadline_left_ms(deadline_ns) == 0)
			break;
		engine_pause(start_ns, deadline_ns);
	}
	if (r < 0)
		snap_error_prefix(err, "the engine did not take its memory again");
	return r;
}

int engine_reclaim_unsure(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	int r = 1;

	if (!is_set(&engine->reclaim))
		return 0;
	if (!engine->release_is_users) {
		if (!engine->adapter->is_released)
			return snap_fail(err, SNAP_E_NOT_READY, EIO,
					 "%s does not tell whether it has its memory",
					 engine->adapter->name);
		r = engine->adapter->is_released(engine, deadline_ns, err);
	}
	return r > 0 ? engine_reclaim(engine, deadline_ns, err) : r;
}
