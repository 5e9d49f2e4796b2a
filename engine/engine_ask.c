/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/engine_ask.h"

#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "engine/adapter.h"

/* quick for a wake, and a fiftieth of the time waited so far for a long boot */
#define PAUSE_MIN_MS 2
#define PAUSE_MAX_MS 50

int engine_authorize(const struct engine *engine, const struct engine_request *request,
		     char buf[HTTP_AUTHORIZATION_MAX], struct snap_error *err)
{
	buf[0] = '\0';
	if (!engine->adapter->authorize)
		return 0;
	return engine->adapter->authorize(engine, request, buf, err);
}

int engine_ask(const struct engine *engine, const struct engine_request *request,
	       uint64_t deadline_ns, struct http_response *ret, struct snap_error *err)
{
	snap_cleanup_http_response struct http_response response = {0};
	char authorization[HTTP_AUTHORIZATION_MAX];
	int r = engine_authorize(engine, request, authorization, err);

	if (r == 0)
		r = http_exchange(request, authorization[0] ? authorization : NULL, deadline_ns,
				  &response, err);
	explicit_bzero(authorization, sizeof(authorization));
	if (r < 0)
		return r;
	if (response.status < 200 || response.status > 299) {
		r = http_fail_status(request, &response, err);
		if (response.status == 503)
			return -EAGAIN;
		return response.status == 404 ? -ENOENT : r;
	}
	*ret = response;
	response = (struct http_response){0};
	return 0;
}

static void pause_ms(uint64_t ms)
{
	struct timespec ts = {
		.tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000 * NS_PER_MS),
	};

	/* cut short by a signal is no harm */
	(void)nanosleep(&ts, NULL);
}

void engine_pause(uint64_t start_ns, uint64_t deadline_ns)
{
	uint64_t ms = (clock_now_ns() - start_ns) / NS_PER_MS / 50;
	int left_ms = deadline_left_ms(deadline_ns);

	if (ms < PAUSE_MIN_MS)
		ms = PAUSE_MIN_MS;
	if (ms > PAUSE_MAX_MS)
		ms = PAUSE_MAX_MS;
	if (left_ms >= 0 && (uint64_t)left_ms < ms)
		ms = (uint64_t)left_ms;
	pause_ms(ms);
}
