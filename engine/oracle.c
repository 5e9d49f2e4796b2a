/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <jansson.h>
#include <string.h>

#include "common/clock.h"
#include "engine/adapter.h"
#include "engine/engine.h"
#include "engine/engine_ask.h"

/* how much of two different answers a message shows */
#define EXCERPT_MAX 40

bool engine_has_oracle(const struct engine *engine)
{
	return engine->oracle.method[0] != '\0';
}

/* the manifest keeps the answer as JSON text */
static int check_is_text(const char *answer, size_t size, struct snap_error *err)
{
	json_t *text = memchr(answer, '\0', size) ? NULL : json_stringn(answer, size);

	if (!text)
		return snap_fail(err, SNAP_E_ORACLE, EPROTO,
				 "the oracle's answer is no UTF-8 text: choose another --oracle");
	json_decref(text);
	return 0;
}

int engine_ask_oracle(const struct engine *engine, uint64_t deadline_ns, char **ret_answer,
		      size_t *ret_size, struct snap_error *err)
{
	snap_cleanup_http_response struct http_response response = {0};
	snap_cleanup_free char *answer = NULL;
	size_t size = 0;
	int r;

	if (!engine_has_oracle(engine))
		return snap_fail(err, SNAP_E_USAGE, EINVAL,
				 "engine '%s' has no oracle: give --oracle", engine->adapter->name);
	r = engine_ask(engine, &engine->oracle, deadline_ns, &response, err);
	if (r < 0)
		return r;

	r = ADAPTER_WHOLE_BODY;
	if (engine->adapter->pick_answer)
		r = engine->adapter->pick_answer(&response, &answer, &size, err);
	if (r < 0)
		return r;
	if (r == ADAPTER_WHOLE_BODY) {
		size = response.body_size;
		answer = TAKE_PTR(response.body);
	}
	r = check_is_text(answer, size, err);
	if (r < 0)
		return r;
	*ret_answer = TAKE_PTR(answer);
	*ret_size = size;
	return 0;
}

/* printable part of an answer from where it differs */
static void excerpt_print(const char *answer, char buf[EXCERPT_MAX + 1])
{
	size_t n;

	for (n = 0; n < EXCERPT_MAX && answer[n] != '\0'; n++) {
		buf[n] = answer[n];
		if (!isprint((unsigned char)buf[n]))
			buf[n] = '.';
	}
	buf[n] = '\0';
}

static int compare(const char *expected, const char *answer, struct snap_error *err)
{
	char want[EXCERPT_MAX + 1], got[EXCERPT_MAX + 1];
	size_t at = 0;

	/* NOLINTBEGIN(clang-analyzer-core.NullDereference): engine_ask_oracle() has set the answer
	 */
	while (expected[at] != '\0' && expected[at] == answer[at])
		at++;
	if (expected[at] == answer[at])
		return 0;
	/* NOLINTEND(clang-analyzer-core.NullDereference) */
	excerpt_print(expected + at, want);
	excerpt_print(answer + at, got);
	(void)snap_fail(err, SNAP_E_ORACLE, 0,
			"the engine answers something else from byte %zu on: '%s', not '%s'", at,
			got, want);
	return ENGINE_ORACLE_MISMATCH;
}

int engine_check_oracle(const struct engine *engine, const char *expected, uint64_t deadline_ns,
			struct snap_error *err)
{
	uint64_t start_ns = clock_now_ns();

	for (;;) {
		snap_cleanup_free char *answer = NULL;
		size_t size;
		int r = engine_ask_oracle(engine, deadline_ns, &answer, &size, err);

		if (r == 0)
			return compare(expected, answer, err);
		/* not listening yet, or still loading; anything else is its answer */
		if ((r != -ECONNREFUSED && r != -EAGAIN) || deadline_left_ms(deadline_ns) == 0)
			return r;
		engine_pause(start_ns, deadline_ns);
	}
}
