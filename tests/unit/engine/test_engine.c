/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "engine/engine.h"

#include "tests/lib/test.h"
#include "tests/unit/engine/scripted_server.h"

#define OK(body)   "HTTP/1.1 200 OK\r\n\r\n" body
#define BUSY	   "HTTP/1.1 503 Loading\r\nContent-Length: 4\r\n\r\nbusy"
#define ORACLE_MAX 128

static char *const no_argv[] = {NULL};

static int init(struct engine *engine, const char *adapter, const char *ready, const char *oracle,
		int warmup)
{
	const struct engine_config config = {
		.adapter = adapter,
		.ready = ready,
		.oracle = oracle,
		.warmup = warmup,
		.argv = no_argv,
	};
	struct snap_error err = {0};
	int r = engine_init(engine, &config, &err);

	if (r < 0)
		assert_true(err.msg[0] != '\0' && err.code == SNAP_E_USAGE);
	return r;
}

static void test_auto_follows_the_readiness(void **state)
{
	static const struct {
		const char *ready, *adapter;
		enum engine_ready_kind kind;
	} cases[] = {
		{"http://127.0.0.1:1/h", "http", ENGINE_READY_HTTP},
		{"tcp:[::1]:1", "tcp", ENGINE_READY_TCP},
		{"exec:true", "none", ENGINE_READY_EXEC},
		{"fd", "none", ENGINE_READY_FD},
		{"notify", "none", ENGINE_READY_NOTIFY},
		{"none", "none", ENGINE_READY_NONE},
		{NULL, "none", ENGINE_READY_NONE},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct engine engine;

		assert_int_equal(init(&engine, i % 2 ? NULL : "auto", cases[i].ready, NULL, -1), 0);
		assert_string_equal(engine_adapter_name(&engine), cases[i].adapter);
		assert_int_equal(engine.ready_kind, cases[i].kind);
		assert_false(engine_has_oracle(&engine));
		assert_int_equal(engine.warmup_count, 0);
	}
}

static void test_malformed_options_are_refused(void **state)
{
	struct engine engine;

	(void)state;
	assert_int_equal(init(&engine, "vllm-typo", NULL, NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "http", NULL, NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "tcp", NULL, NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "auto", "http:/127.0.0.1", NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "auto", "https://127.0.0.1/", NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "auto", "http://host/", NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "auto", "tcp:127.0.0.1", NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "auto", "exec:", NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "auto", "", NULL, -1), -EINVAL);
	assert_int_equal(init(&engine, "auto", NULL, "GET nothing", -1), -EINVAL);
	assert_int_equal(init(&engine, "auto", "tcp:127.0.0.1:1", NULL, 3), -EINVAL);
}

static void test_oracle_and_warm_up_of_the_user_count(void **state)
{
	struct engine engine;

	(void)state;
	assert_int_equal(
		init(&engine, "auto", "http://127.0.0.1:1/", "GET http://127.0.0.1:2/x", -1), 0);
	assert_true(engine_has_oracle(&engine));
	assert_int_equal(engine.warmup_count, 2);
	assert_string_equal(engine.warmup.path, "/x");
	assert_int_equal(init(&engine, "none", "fd", "GET http://127.0.0.1:2/x", 7), 0);
	assert_int_equal(engine.warmup_count, 7);
	assert_int_equal(engine.warmup.port, 2);
	assert_int_equal(
		init(&engine, "auto", "http://127.0.0.1:1/", "GET http://127.0.0.1:2/x", 0), 0);
	assert_int_equal(engine.warmup_count, 0);
	assert_int_equal(init(&engine, "auto", "http://127.0.0.1:1/", "none", -1), 0);
	assert_false(engine_has_oracle(&engine));
}

/* an engine at the server, with /h as readiness and /o as oracle */
static void init_at(struct engine *engine, int port)
{
	char ready[ORACLE_MAX], oracle[ORACLE_MAX];

	(void)snprintf(ready, sizeof(ready), "http://127.0.0.1:%d/h", port);
	(void)snprintf(oracle, sizeof(oracle), "GET http://127.0.0.1:%d/o", port);
	assert_int_equal(init(engine, "auto", ready, oracle, -1), 0);
}

static int count_calls(void *arg)
{
	(*(int *)arg)++;
	return 0;
}

static void test_waiting_goes_on_through_refusals_resets_and_503(void **state)
{
	static const struct scripted_answer answers[] = {
		{.text = BUSY}, {.text = "", .reset = true},
		{.text = ""},	{.text = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"},
		{.text = BUSY}, {.text = OK("fine")},
	};
	struct scripted_server server;
	struct engine engine;
	struct snap_error err = {0};
	int calls = 0;

	(void)state;
	scripted_server_start_late(&server, answers, ARRAY_LEN(answers), 100);
	init_at(&engine, server.port);
	if (engine_wait_ready(&engine, deadline_after_ms(5000), count_calls, &calls, &err) != 0)
		fail_msg("%s", err.msg);
	scripted_server_wait(&server, 6);
	assert_int_equal(server.seen->connections, 6);
	assert_true(calls > 6);
	scripted_server_stop(&server);
}

static void test_engine_that_never_gets_ready_is_told_with_the_last_sight(void **state)
{
	static const struct scripted_answer answer = {.text = BUSY};
	struct scripted_server server;
	struct engine engine;
	struct snap_error err = {0};
	uint64_t start_ns = clock_now_ns();

	(void)state;
	scripted_server_start(&server, &answer, 1);
	init_at(&engine, server.port);
	assert_int_equal(engine_wait_ready(&engine, deadline_after_ms(200), NULL, NULL, &err),
			 -ETIMEDOUT);
	assert_true(clock_now_ns() - start_ns < NS_PER_S);
	scripted_server_stop(&server);
	if (!strstr(err.msg, "not ready after ") || !strstr(err.msg, "/h: status 503: busy"))
		fail_msg("%s", err.msg);
	assert_int_equal(err.code, SNAP_E_NOT_READY);
}

static int die_at_third(void *arg)
{
	return ++*(int *)arg == 3 ? -ECHILD : 0;
}

static void test_waiting_ends_when_the_engine_is_dead(void **state)
{
	struct engine engine;
	snap_cleanup_close int holder = FD_NONE;
	int calls = 0;

	(void)state;
	init_at(&engine, scripted_server_dead_port(&holder));
	assert_int_equal(
		engine_wait_ready(&engine, deadline_after_ms(5000), die_at_third, &calls, NULL),
		-ECHILD);
	assert_int_equal(calls, 3);
}

static void test_readiness_that_only_pid_1_hears_cannot_be_asked(void **state)
{
	struct engine engine;

	(void)state;
	assert_int_equal(init(&engine, "none", "fd", NULL, -1), 0);
	assert_int_equal(engine_probe_ready(&engine, deadline_after_ms(100), NULL), -EINVAL);
	assert_int_equal(init(&engine, "none", "none", NULL, -1), 0);
	assert_int_equal(engine_probe_ready(&engine, deadline_after_ms(100), NULL), 0);
	assert_int_equal(init(&engine, "none", "exec:exit 3", NULL, -1), 0);
	assert_int_equal(engine_probe_ready(&engine, deadline_after_ms(2000), NULL), 1);
}

static void test_warm_up_asks_as_often_as_told_and_stops_at_a_failure(void **state)
{
	static const struct scripted_answer good = {.text = OK("x")};
	static const struct scripted_answer bad[] = {
		{.text = OK("x")}, {.text = "HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\noops"}};
	struct scripted_server server;
	struct engine engine;
	struct snap_error err = {0};

	(void)state;
	scripted_server_start(&server, &good, 1);
	init_at(&engine, server.port);
	assert_int_equal(engine_warm_up(&engine, deadline_after_ms(2000), NULL), 0);
	scripted_server_wait(&server, 2);
	assert_int_equal(server.seen->connections, 2);
	scripted_server_stop(&server);

	scripted_server_start(&server, bad, 2);
	init_at(&engine, server.port);
	assert_int_equal(engine_warm_up(&engine, deadline_after_ms(2000), &err), -EIO);
	assert_non_null(strstr(err.msg, "warm-up 2 of 2: GET http://127.0.0.1:"));
	assert_non_null(strstr(err.msg, "status 500: oops"));
	scripted_server_stop(&server);
}

static int ask(const char *text, char **ret, struct snap_error *err)
{
	const struct scripted_answer answer = {.text = text};
	struct scripted_server server;
	struct engine engine;
	size_t size = 0;
	int r;

	scripted_server_start(&server, &answer, 1);
	init_at(&engine, server.port);
	r = engine_ask_oracle(&engine, deadline_after_ms(2000), ret, &size, err);
	if (r == 0)
		assert_int_equal(size, strlen(*ret));
	scripted_server_stop(&server);
	return r;
}

static void test_oracle_answer_is_the_whole_text_body(void **state)
{
	snap_cleanup_free char *answer = NULL;
	struct snap_error err = {0};
	char *none = NULL;

	(void)state;
	assert_int_equal(ask(OK("gr\xc3\xbc\xc3\x9f dich\n"), &answer, NULL), 0);
	assert_string_equal(answer, "gr\xc3\xbc\xc3\x9f dich\n");
	assert_int_equal(ask(OK("\xff\xfe"), &none, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "no UTF-8 text"));
	assert_int_equal(ask("HTTP/1.1 302 Moved\r\nLocation: /x\r\n\r\n", &none, &err), -EIO);
	assert_non_null(strstr(err.msg, "status 302"));
	assert_null(none);
}

static int check(const struct scripted_answer *answers, size_t n, unsigned int delay_ms,
		 struct snap_error *err)
{
	struct scripted_server server;
	struct engine engine;
	int r;

	scripted_server_start_late(&server, answers, n, delay_ms);
	init_at(&engine, server.port);
	r = engine_check_oracle(&engine, "forty-two", deadline_after_ms(1500), err);
	scripted_server_stop(&server);
	return r;
}

static void test_check_waits_for_the_listener_and_compares(void **state)
{
	static const struct scripted_answer same = {.text = OK("forty-two")};
	static const struct scripted_answer loading[] = {{.text = BUSY}, {.text = OK("forty-two")}};
	static const struct scripted_answer other = {.text = OK("forty-\x01three, at last")};
	static const struct scripted_answer shorter = {.text = OK("forty")};
	static const struct scripted_answer longer = {.text = OK("forty-two!")};
	static const struct scripted_answer broken = {.text = "", .reset = true};
	struct snap_error err = {0};

	(void)state;
	assert_int_equal(check(&same, 1, 0, NULL), 0);
	assert_int_equal(check(&same, 1, 150, NULL), 0);
	assert_int_equal(check(loading, 2, 0, NULL), 0);
	assert_int_equal(check(&other, 1, 0, &err), ENGINE_ORACLE_MISMATCH);
	assert_string_equal(err.msg, "the engine answers something else from byte 6 on: '.three, "
				     "at last', not 'two'");
	assert_int_equal(err.code, SNAP_E_ORACLE);
	assert_int_equal(check(&shorter, 1, 0, NULL), ENGINE_ORACLE_MISMATCH);
	assert_int_equal(check(&longer, 1, 0, NULL), ENGINE_ORACLE_MISMATCH);
	assert_true(check(&broken, 1, 0, NULL) < 0);
	assert_int_equal(check(&same, 1, 5000, &err), -ECONNREFUSED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_auto_follows_the_readiness),
		cmocka_unit_test(test_malformed_options_are_refused),
		cmocka_unit_test(test_oracle_and_warm_up_of_the_user_count),
		cmocka_unit_test(test_waiting_goes_on_through_refusals_resets_and_503),
		cmocka_unit_test(test_engine_that_never_gets_ready_is_told_with_the_last_sight),
		cmocka_unit_test(test_waiting_ends_when_the_engine_is_dead),
		cmocka_unit_test(test_readiness_that_only_pid_1_hears_cannot_be_asked),
		cmocka_unit_test(test_warm_up_asks_as_often_as_told_and_stops_at_a_failure),
		cmocka_unit_test(test_oracle_answer_is_the_whole_text_body),
		cmocka_unit_test(test_check_waits_for_the_listener_and_compares),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
