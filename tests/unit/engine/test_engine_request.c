/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "engine/engine_request.h"

#include "tests/lib/test.h"

static void test_a_request_survives_the_way_to_text_and_back(void **state)
{
	static const char *const texts[] = {
		"GET http://127.0.0.1:80/",
		"GET http://[::1]:8080/a/b?c=d&e=%20",
		"POST http://localhost:1/x {\"prompt\": \"a b  c\", \"n\": 1}",
		"POST http://127.0.0.1:65535/empty",
		"none",
	};
	char back[ENGINE_REQUEST_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct engine_request request;
		struct snap_error err = {0};

		if (engine_request_parse(texts[i], &request, &err) != 0)
			fail_msg("'%s': %s", texts[i], err.msg);
		assert_int_equal(engine_request_format(&request, back, sizeof(back)), 0);
		assert_string_equal(back, texts[i]);
		assert_int_equal(engine_request_format(&request, back, strlen(texts[i])), -ENOSPC);
	}
}

static void test_parts_that_a_url_may_lack_are_filled_in(void **state)
{
	struct engine_request request;

	(void)state;
	assert_int_equal(engine_request_parse("GET http://127.0.0.1", &request, NULL), 0);
	assert_int_equal(request.port, 80);
	assert_string_equal(request.path, "/");
	assert_string_equal(request.body, "");
	assert_string_equal(request.method, "GET");
}

static void test_malformed_requests_are_refused_with_a_reason(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{"", "is not 'GET URL'"},
		{"PUT http://127.0.0.1/", "is not 'GET URL'"},
		{"get http://127.0.0.1/", "is not 'GET URL'"},
		{"GET", "is not 'GET URL'"},
		{"GET ", "http://"},
		{"GET https://127.0.0.1/", "TLS"},
		{"GET 127.0.0.1/", "http://"},
		{"GET http://", "empty"},
		{"GET http://127.0.0.1:99999/", "port"},
		{"GET http://user@127.0.0.1/", "names are not looked up"},
		{"GET http://example.com/", "names are not looked up"},
		{"GET http://127.0.0.1?x", "names are not looked up"},
		{"GET http://127.0.0.1/#x", "%XX"},
		{"GET http://127.0.0.1/\r\nX:", "%XX"},
		{"GET http://127.0.0.1/\xc3\xa4", "%XX"},
		{"GET http://127.0.0.1/ body", "no body"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct engine_request request = {.port = -7};
		struct snap_error err = {0};

		assert_int_equal(engine_request_parse(cases[i].text, &request, &err), -EINVAL);
		if (!strstr(err.msg, cases[i].reason))
			fail_msg("'%s': %s", cases[i].text, err.msg);
		assert_int_equal(request.port, -7);
	}
}

static void test_limits_of_path_and_body_hold(void **state)
{
	struct engine_request request;
	char text[8192], back[ENGINE_REQUEST_TEXT_MAX];
	int n = snprintf(text, sizeof(text), "POST http://127.0.0.1:80/");

	(void)state;
	memset(text + n, 'p', 510);
	text[n + 510] = ' ';
	memset(text + n + 511, 'b', 4095);
	text[n + 511 + 4095] = '\0';
	assert_int_equal(engine_request_parse(text, &request, NULL), 0);
	assert_int_equal(strlen(request.path), 511);
	assert_int_equal(strlen(request.body), 4095);
	assert_int_equal(engine_request_format(&request, back, sizeof(back)), 0);
	assert_string_equal(back, text);

	text[n + 511 + 4095] = 'b';
	text[n + 511 + 4096] = '\0';
	assert_int_equal(engine_request_parse(text, &request, NULL), -EINVAL);
	text[n + 510] = 'p';
	text[n + 511] = '\0';
	assert_int_equal(engine_request_parse(text, &request, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_survives_the_way_to_text_and_back),
		cmocka_unit_test(test_parts_that_a_url_may_lack_are_filled_in),
		cmocka_unit_test(test_malformed_requests_are_refused_with_a_reason),
		cmocka_unit_test(test_limits_of_path_and_body_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
