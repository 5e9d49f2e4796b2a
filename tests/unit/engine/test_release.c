/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "engine/engine.h"
#include "engine/release.h"

#include "tests/lib/test.h"
#include "tests/unit/engine/scripted_server.h"

#define WORDS_MAX   24
#define OK(body)    "HTTP/1.1 200 OK\r\n\r\n" body
#define NOT_FOUND   "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
#define FAULT	    "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops"
#define BUSY	    "HTTP/1.1 503 Loading\r\nContent-Length: 0\r\n\r\n"
#define VLLM	    "vllm serve m --enable-sleep-mode"
#define SGLANG	    "python3 -m sglang.launch_server --enable-memory-saver"
#define DEADLINE_MS 20000

static char command_copy[1024];
static char *command_words[WORDS_MAX];

/* split at blanks; argv must outlive the engine */
static int init(struct engine *engine, const char *line, const char *release, const char *reclaim,
		struct snap_error *err)
{
	const struct engine_config config = {
		.warmup = -1,
		.argv = command_words,
		.release = release,
		.reclaim = reclaim,
	};
	int n = 0;

	(void)snprintf(command_copy, sizeof(command_copy), "%s", line);
	for (char *word = strtok(command_copy, " "); word && n < WORDS_MAX - 1;
	     word = strtok(NULL, " "))
		command_words[n++] = word;
	command_words[n] = NULL;
	return engine_init(engine, &config, err);
}

static void test_engines_are_recognised_by_command_and_module(void **state)
{
	static const struct {
		const char *line, *adapter;
	} cases[] = {
		{"vllm serve m", "vllm"},
		{"/usr/bin/python3 -B /opt/bin/vllm serve m --port 1", "vllm"},
		{"env A=b python3 -m vllm.entrypoints.openai.api_server --model m", "vllm"},
		{"vllm bench serve", "none"},
		{"vllm", "none"},
		{"python3 -m vllm.entrypoints.api_server", "none"},
		{"python -m sglang.launch_server --model-path m", "sglang"},
		{"sglang serve --model-path m", "sglang"},
		{"python3 serve.py --name vllm", "none"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct engine engine;

		assert_int_equal(init(&engine, cases[i].line, NULL, NULL, NULL), 0);
		if (strcmp(engine_adapter_name(&engine), cases[i].adapter) != 0)
			fail_msg("'%s' is taken for %s", cases[i].line,
				 engine_adapter_name(&engine));
	}
}

static void expect_ready(const char *line, const char *host, int port)
{
	struct engine engine;
	struct snap_error err = {0};

	if (init(&engine, line, NULL, NULL, &err) != 0)
		fail_msg("'%s': %s", line, err.msg);
	assert_int_equal(engine.ready_kind, ENGINE_READY_HTTP);
	assert_string_equal(engine.ready.path, "/health");
	assert_string_equal(engine.ready.host, host);
	assert_int_equal(engine.ready.port, port);
	assert_false(engine_has_oracle(&engine));
	assert_int_equal(engine.warmup_count, 0);
}

static void test_address_is_that_of_the_options(void **state)
{
	struct snap_error err = {0};
	struct engine engine;

	(void)state;
	expect_ready("vllm serve m", "127.0.0.1", 8000);
	expect_ready("vllm serve m --host=0.0.0.0 --port=81", "0.0.0.0", 81);
	expect_ready("vllm serve m --port 81 --port 82", "127.0.0.1", 82);
	expect_ready("python3 -m sglang.launch_server --host :: --port 83", "::", 83);
	expect_ready("sglang serve", "127.0.0.1", 30000);
	assert_int_equal(init(&engine, "vllm serve m --port x", NULL, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "not 1 to 65535"));
	assert_int_equal(init(&engine, "vllm serve m --ssl-certfile c", NULL, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "TLS"));
}

static void expect_request(const struct engine_request *request, const char *want)
{
	char text[ENGINE_REQUEST_TEXT_MAX];

	assert_int_equal(engine_request_format(request, text, sizeof(text)), 0);
	assert_string_equal(text, want);
}

static void test_requests_are_those_of_the_engine(void **state)
{
	struct engine engine;

	(void)state;
	assert_int_equal(init(&engine, VLLM " --port 81", NULL, NULL, NULL), 0);
	expect_request(&engine.release, "POST http://127.0.0.1:81/sleep?level=1");
	expect_request(&engine.reclaim, "POST http://127.0.0.1:81/wake_up");
	assert_int_equal(init(&engine, SGLANG, NULL, NULL, NULL), 0);
	expect_request(&engine.release, "POST http://127.0.0.1:30000/release_memory_occupation "
					"{\"tags\":[\"kv_cache\"]}");
	expect_request(&engine.reclaim, "POST http://127.0.0.1:30000/resume_memory_occupation "
					"{\"tags\":[\"kv_cache\"]}");
	assert_int_equal(
		init(&engine, "llama-server --port 1 --slot-save-path /x", NULL, NULL, NULL), 0);
	assert_true(engine_can_release(&engine));
	expect_request(&engine.reclaim, "none");
}

static void test_without_its_option_nothing_is_asked_and_the_option_named(void **state)
{
	struct engine engine;

	(void)state;
	assert_int_equal(init(&engine, "vllm serve m", NULL, NULL, NULL), 0);
	assert_false(engine_can_release(&engine));
	assert_non_null(strstr(engine_release_hint(&engine), "--enable-sleep-mode"));
	assert_int_equal(init(&engine, "sglang serve", NULL, NULL, NULL), 0);
	assert_false(engine_can_release(&engine));
	assert_non_null(strstr(engine_release_hint(&engine), "--enable-memory-saver"));
	assert_int_equal(init(&engine, "llama-server --port 1", NULL, NULL, NULL), 0);
	assert_false(engine_can_release(&engine));
	assert_null(engine_release_hint(&engine));
}

static void test_users_word_beats_the_adapters(void **state)
{
	struct snap_error err = {0};
	struct engine engine;

	(void)state;
	assert_int_equal(init(&engine, VLLM, "none", NULL, NULL), 0);
	assert_false(engine_can_release(&engine));
	expect_request(&engine.reclaim, "none");
	assert_int_equal(init(&engine, VLLM, "POST http://127.0.0.1:1/a {}",
			      "POST http://127.0.0.1:1/b", NULL),
			 0);
	expect_request(&engine.release, "POST http://127.0.0.1:1/a {}");
	expect_request(&engine.reclaim, "POST http://127.0.0.1:1/b");
	assert_int_equal(init(&engine, VLLM, NULL, "POST http://127.0.0.1:1/b", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "--reclaim needs --release"));
	assert_int_equal(init(&engine, VLLM, "none", "POST http://127.0.0.1:1/b", NULL), -EINVAL);
	assert_int_equal(init(&engine, "x", "PUT http://127.0.0.1:1/b", NULL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "--release"));
}

typedef int (*asking_fn)(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err);

/* line is given the server's port; *ret_connections: how often it was asked */
static int ask(asking_fn fn, const char *line, const struct scripted_answer *answers, size_t n,
	       unsigned int deadline_ms, struct scripted_server_seen *ret_seen,
	       struct snap_error *err)
{
	struct scripted_server server;
	struct engine engine;
	char text[512];
	int r;

	scripted_server_start(&server, answers, n);
	(void)snprintf(text, sizeof(text), "%s --port %d", line, server.port);
	assert_int_equal(init(&engine, text, NULL, NULL, NULL), 0);
	r = fn(&engine, deadline_after_ms(deadline_ms), err);
	*ret_seen = *server.seen;
	scripted_server_stop(&server);
	return r;
}

static void test_what_a_release_has_come_to_is_told(void **state)
{
	static const struct {
		const char *line;
		const char *answers[3];
		int result;
	} cases[] = {
		{VLLM, {OK("")}, 0},
		{VLLM, {NOT_FOUND}, ENGINE_NOT_RELEASED},
		{VLLM, {BUSY}, ENGINE_NOT_RELEASED},
		{VLLM, {FAULT, OK("{\"is_sleeping\":false}")}, ENGINE_NOT_RELEASED},
		{VLLM, {FAULT, OK("{\"is_sleeping\":true}")}, -EREMOTEIO},
		{VLLM, {FAULT, FAULT}, -EREMOTEIO},
		{SGLANG, {OK("")}, 0},
		{SGLANG, {FAULT}, ENGINE_NOT_RELEASED},
		{SGLANG, {""}, -EPROTO},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct scripted_answer answers[3] = {{.text = NULL}};
		struct scripted_server_seen seen;
		struct snap_error err = {0};
		size_t n = 0;
		int r;

		for (; n < 3 && cases[i].answers[n]; n++)
			answers[n].text = cases[i].answers[n];
		r = ask(engine_release, cases[i].line, answers, n, DEADLINE_MS, &seen, &err);
		if (r != cases[i].result)
			fail_msg("case %zu: %d, not %d: %s", i, r, cases[i].result, err.msg);
		if (r != 0)
			assert_true(err.msg[0] != '\0');
	}
}

static void test_release_that_is_late_may_have_been_done(void **state)
{
	const struct scripted_answer slow = {.text = OK(""), .wait_ms = 3000};
	struct scripted_server_seen seen;
	struct snap_error err = {0};

	(void)state;
	assert_int_equal(ask(engine_release, SGLANG, &slow, 1, 200, &seen, &err), -ETIMEDOUT);
}

static void test_who_does_not_listen_has_released_nothing(void **state)
{
	struct engine engine;
	char line[256];
	int fd;

	(void)state;
	(void)snprintf(line, sizeof(line), VLLM " --port %d", scripted_server_dead_port(&fd));
	assert_int_equal(init(&engine, line, NULL, NULL, NULL), 0);
	assert_int_equal(engine_release(&engine, deadline_after_ms(DEADLINE_MS), NULL),
			 ENGINE_NOT_RELEASED);
	(void)fd_close(fd);
}

static void test_missing_variable_is_told(void **state)
{
	const struct scripted_answer answer = {.text = NOT_FOUND};
	struct scripted_server_seen seen;
	struct snap_error err = {0};

	(void)state;
	assert_int_equal(ask(engine_release, VLLM, &answer, 1, DEADLINE_MS, &seen, &err),
			 ENGINE_NOT_RELEASED);
	assert_non_null(strstr(err.msg, "VLLM_SERVER_DEV_MODE=1"));
}

static void test_reclaim_waits_for_an_engine_that_comes_up_and_no_longer(void **state)
{
	static const struct scripted_answer later[] = {{.text = BUSY}, {.text = OK("")}};
	static const struct scripted_answer never = {.text = FAULT};
	struct scripted_server_seen seen;
	struct snap_error err = {0};

	(void)state;
	assert_int_equal(ask(engine_reclaim, SGLANG, later, 2, DEADLINE_MS, &seen, &err), 0);
	assert_non_null(strstr(seen.request, "POST /resume_memory_occupation"));
	assert_int_equal(ask(engine_reclaim, SGLANG, &never, 1, DEADLINE_MS, &seen, &err), -EIO);
	assert_non_null(strstr(err.msg, "did not take its memory again"));
	/* another time would end SGLang */
	assert_true(seen.connections <= 1);
}

static void test_engine_of_unknown_state_is_asked_before_it_is_told(void **state)
{
	static const struct scripted_answer asleep[] = {{.text = OK("{\"is_sleeping\":true}")},
							{.text = OK("")}};
	static const struct scripted_answer awake = {.text = OK("{\"is_sleeping\":false}")};
	static const struct scripted_answer unserved = {.text = NOT_FOUND};
	static const struct scripted_answer odd = {.text = OK("[]")};
	struct scripted_server_seen seen;

	(void)state;
	assert_int_equal(ask(engine_reclaim_unsure, VLLM, asleep, 2, DEADLINE_MS, &seen, NULL), 0);
	assert_non_null(strstr(seen.request, "POST /wake_up"));
	assert_int_equal(ask(engine_reclaim_unsure, VLLM, &awake, 1, DEADLINE_MS, &seen, NULL), 0);
	assert_non_null(strstr(seen.request, "GET /is_sleeping"));
	assert_int_equal(ask(engine_reclaim_unsure, VLLM, &unserved, 1, DEADLINE_MS, &seen, NULL),
			 0);
	assert_int_equal(ask(engine_reclaim_unsure, VLLM, &odd, 1, DEADLINE_MS, &seen, NULL),
			 -EPROTO);
	/* SGLang cannot be asked, and must not be told */
	assert_int_equal(ask(engine_reclaim_unsure, SGLANG, &awake, 1, DEADLINE_MS, &seen, NULL),
			 -EIO);
	assert_int_equal(seen.connections, 0);
	assert_int_equal(
		ask(engine_reclaim_unsure, "vllm serve", &odd, 1, DEADLINE_MS, &seen, NULL), 0);
	assert_int_equal(seen.connections, 0);
}

static void test_keys_go_with_the_requests(void **state)
{
	const struct scripted_answer answer = {.text = OK("")};
	struct scripted_server_seen seen;

	(void)state;
	assert_int_equal(
		ask(engine_release, SGLANG " --api-key k1", &answer, 1, DEADLINE_MS, &seen, NULL),
		0);
	assert_non_null(strstr(seen.request, "Authorization: Bearer k1\r\n"));
	assert_int_equal(ask(engine_release, SGLANG " --api-key k1 --admin-api-key=k2", &answer, 1,
			     DEADLINE_MS, &seen, NULL),
			 0);
	assert_non_null(strstr(seen.request, "Authorization: Bearer k2\r\n"));
	assert_int_equal(setenv("VLLM_API_KEY", "k3", 1), 0);
	assert_int_equal(ask(engine_release, VLLM, &answer, 1, DEADLINE_MS, &seen, NULL), 0);
	assert_int_equal(unsetenv("VLLM_API_KEY"), 0);
	assert_non_null(strstr(seen.request, "Authorization: Bearer k3\r\n"));
}

static void test_idle_slots_are_erased_and_no_others(void **state)
{
	static const struct scripted_answer answers[] = {
		{.text = OK(
			 "[{\"id\":0,\"is_processing\":true},{\"id\":7,\"is_processing\":false}]")},
		{.text = OK("{}")},
	};
	static const struct scripted_answer disabled = {.text = NOT_FOUND};
	static const struct scripted_answer odd = {.text = OK("{}")};
	const char *line = "llama-server --slot-save-path /x";
	struct scripted_server_seen seen;

	(void)state;
	assert_int_equal(ask(engine_release, line, answers, 2, DEADLINE_MS, &seen, NULL), 0);
	assert_non_null(strstr(seen.request, "POST /slots/7?action=erase"));
	assert_int_equal(ask(engine_release, line, &disabled, 1, DEADLINE_MS, &seen, NULL),
			 ENGINE_NOT_RELEASED);
	assert_int_equal(ask(engine_release, line, &odd, 1, DEADLINE_MS, &seen, NULL),
			 ENGINE_NOT_RELEASED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_engines_are_recognised_by_command_and_module),
		cmocka_unit_test(test_address_is_that_of_the_options),
		cmocka_unit_test(test_requests_are_those_of_the_engine),
		cmocka_unit_test(test_without_its_option_nothing_is_asked_and_the_option_named),
		cmocka_unit_test(test_users_word_beats_the_adapters),
		cmocka_unit_test(test_what_a_release_has_come_to_is_told),
		cmocka_unit_test(test_release_that_is_late_may_have_been_done),
		cmocka_unit_test(test_who_does_not_listen_has_released_nothing),
		cmocka_unit_test(test_missing_variable_is_told),
		cmocka_unit_test(test_reclaim_waits_for_an_engine_that_comes_up_and_no_longer),
		cmocka_unit_test(test_engine_of_unknown_state_is_asked_before_it_is_told),
		cmocka_unit_test(test_keys_go_with_the_requests),
		cmocka_unit_test(test_idle_slots_are_erased_and_no_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
