/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "engine/http.h"

#include "tests/lib/test.h"
#include "tests/unit/engine/scripted_server.h"

#define HEAD "HTTP/1.1 200 OK\r\n"

/* one exchange with a server that gives this answer */
static int exchange(const struct scripted_answer *answer, uint64_t timeout_ms,
		    struct http_response *ret, struct scripted_server_seen *seen,
		    struct snap_error *err)
{
	struct engine_request request = {.method = "POST", .host = "127.0.0.1", .path = "/p?q"};
	struct scripted_server server;
	int r;

	(void)snprintf(request.body, sizeof(request.body), "{\"a\":1}");
	scripted_server_start(&server, answer, 1);
	request.port = server.port;
	r = http_exchange(&request, "Bearer secret", deadline_after_ms(timeout_ms), ret, err);
	if (seen) {
		scripted_server_wait(&server, 1);
		*seen = *server.seen;
	}
	scripted_server_stop(&server);
	return r;
}

static void expect_body(const struct scripted_answer *answer, const char *body)
{
	snap_cleanup_http_response struct http_response response = {0};
	struct snap_error err = {0};

	if (exchange(answer, 5000, &response, NULL, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(response.status, 200);
	assert_string_equal(response.body, body);
	assert_int_equal(response.body_size, strlen(body));
}

static void test_answers_of_all_framings_are_read(void **state)
{
	static const struct scripted_answer with_length = {.text = HEAD
							   "Content-Length: 2\r\n\r\nok"};
	static const struct scripted_answer to_the_end = {.text = HEAD "\r\nok"};
	static const struct scripted_answer chunked = {
		.text = HEAD "Transfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"};
	static const struct scripted_answer empty = {.text = HEAD "Content-Length: 0\r\n\r\n"};

	(void)state;
	expect_body(&with_length, "ok");
	expect_body(&to_the_end, "ok");
	expect_body(&chunked, "ok");
	expect_body(&empty, "");
}

static void test_slow_answer_in_time_is_read(void **state)
{
	static const struct scripted_answer answer = {
		.text = HEAD "Content-Length: 2\r\n\r\nok", .wait_ms = 50, .byte_ms = 2};

	(void)state;
	expect_body(&answer, "ok");
}

static void test_request_says_what_was_asked(void **state)
{
	static const struct scripted_answer answer = {.text = HEAD "Content-Length: 2\r\n\r\nok"};
	snap_cleanup_http_response struct http_response response = {0};
	struct scripted_server_seen seen;

	(void)state;
	assert_int_equal(exchange(&answer, 5000, &response, &seen, NULL), 0);
	assert_ptr_equal(strstr(seen.request, "POST /p?q HTTP/1.1\r\nHost: 127.0.0.1:"),
			 seen.request);
	assert_non_null(strstr(seen.request, "\r\nConnection: close\r\n"));
	assert_non_null(strstr(seen.request, "\r\nAuthorization: Bearer secret\r\n"));
	assert_non_null(strstr(seen.request, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(seen.request, "\r\nContent-Length: 7\r\n"));
	assert_non_null(strstr(seen.request, "\r\n\r\n{\"a\":1}"));
}

/* a server that waits for us to close would hold an established connection */
static void test_connection_is_closed_by_us_after_the_answer(void **state)
{
	static const struct scripted_answer answer = {.text = HEAD "Content-Length: 2\r\n\r\nok",
						      .stay = true};
	snap_cleanup_http_response struct http_response response = {0};
	struct scripted_server_seen seen;
	uint64_t start_ns = clock_now_ns();

	(void)state;
	assert_int_equal(exchange(&answer, 5000, &response, &seen, NULL), 0);
	assert_true(seen.client_closed_first);
	assert_true(clock_now_ns() - start_ns < 2 * NS_PER_S);
}

static void test_engine_has_closed_when_the_exchange_returns(void **state)
{
	static const struct scripted_answer answer = {.text = HEAD "Content-Length: 2\r\n\r\nok",
						      .stay = true};
	struct engine_request request = {.method = "GET", .host = "127.0.0.1", .path = "/"};
	struct scripted_server server;

	(void)state;
	scripted_server_start(&server, &answer, 1);
	request.port = server.port;
	for (unsigned int i = 1; i <= 20; i++) {
		snap_cleanup_http_response struct http_response response = {0};
		char path[64], line[512];
		FILE *tcp;

		assert_int_equal(
			http_exchange(&request, NULL, deadline_after_ms(2000), &response, NULL), 0);
		/* state 01 is ESTABLISHED, 08 CLOSE_WAIT; the server's local port in hex */
		(void)snprintf(path, sizeof(path), "0100007F:%04X ", (unsigned int)server.port);
		tcp = fopen("/proc/self/net/tcp", "re");
		assert_non_null(tcp);
		while (fgets(line, sizeof(line), tcp)) {
			const char *local = strstr(line, ": ");

			if (!local || strncmp(local + 2, path, strlen(path)) != 0)
				continue;
			if (strstr(line, " 01 ") || strstr(line, " 08 "))
				fail_msg("still there: %s", line);
		}
		(void)fclose(tcp);
	}
	scripted_server_stop(&server);
}

static void expect_failure(const struct scripted_answer *answer, int error, const char *reason)
{
	struct http_response response = {.status = -7};
	struct snap_error err = {0};
	uint64_t start_ns = clock_now_ns();

	assert_int_equal(exchange(answer, 300, &response, NULL, &err), error);
	assert_int_equal(response.status, -7);
	if (!strstr(err.msg, reason) || !strstr(err.msg, "POST http://127.0.0.1:"))
		fail_msg("%s", err.msg);
	assert_null(strstr(err.msg, "secret"));
	assert_true(clock_now_ns() - start_ns < NS_PER_S);
}

static void test_misbehaving_servers_fail_in_time_and_by_name(void **state)
{
	static const struct scripted_answer truncated = {.text = HEAD
							 "Content-Length: 20\r\n\r\nok"};
	static const struct scripted_answer silent = {.text = ""};
	static const struct scripted_answer reset = {.text = HEAD "Content-Length: 20\r\n\r\nok",
						     .reset = true};
	static const struct scripted_answer late = {.text = HEAD "\r\nok", .wait_ms = 5000};
	static const struct scripted_answer trickle = {
		.text = HEAD "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyy", .byte_ms = 50};
	static const struct scripted_answer hanging = {.text = HEAD "Content-Length: 20\r\n\r\nok",
						       .stay = true};
	static const struct scripted_answer endless = {.text = HEAD, .repeat = 1U << 30};
	static const struct scripted_answer huge = {.text = HEAD
						    "Content-Length: 1000000000\r\n\r\n"};
	static const struct scripted_answer other = {.text = "220 mail.example ESMTP\r\n"};

	(void)state;
	expect_failure(&truncated, -EPROTO, "mid-answer");
	expect_failure(&silent, -EPROTO, "without an answer");
	expect_failure(&reset, -ECONNRESET, "reset");
	expect_failure(&late, -ETIMEDOUT, "no complete answer");
	expect_failure(&trickle, -ETIMEDOUT, "no complete answer");
	expect_failure(&hanging, -ETIMEDOUT, "no complete answer");
	expect_failure(&endless, -EPROTO, "header field");
	expect_failure(&huge, -EMSGSIZE, "larger");
	expect_failure(&other, -EPROTO, "right port");
}

static void test_refused_connection_says_so(void **state)
{
	struct engine_request request = {.method = "GET", .host = "127.0.0.1", .path = "/health"};
	struct http_response response;
	struct snap_error err = {0};
	snap_cleanup_close int holder = FD_NONE;

	(void)state;
	request.port = scripted_server_dead_port(&holder);
	assert_int_equal(http_exchange(&request, NULL, deadline_after_ms(500), &response, &err),
			 -ECONNREFUSED);
	assert_non_null(strstr(err.msg, "/health: cannot connect: Connection refused"));
}

static void test_passed_deadline_ends_at_once(void **state)
{
	static const struct scripted_answer answer = {.text = HEAD "\r\nok", .wait_ms = 2000};
	struct http_response response;
	uint64_t start_ns = clock_now_ns();

	(void)state;
	assert_int_equal(exchange(&answer, 0, &response, NULL, NULL), -ETIMEDOUT);
	assert_true(clock_now_ns() - start_ns < NS_PER_S / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_of_all_framings_are_read),
		cmocka_unit_test(test_slow_answer_in_time_is_read),
		cmocka_unit_test(test_request_says_what_was_asked),
		cmocka_unit_test(test_connection_is_closed_by_us_after_the_answer),
		cmocka_unit_test(test_engine_has_closed_when_the_exchange_returns),
		cmocka_unit_test(test_misbehaving_servers_fail_in_time_and_by_name),
		cmocka_unit_test(test_refused_connection_says_so),
		cmocka_unit_test(test_passed_deadline_ends_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
