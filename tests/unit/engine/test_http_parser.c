/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "engine/http_parser.h"

#include "tests/lib/test.h"

#define HEAD "HTTP/1.1 200 OK\r\n"

struct good {
	const char *text;
	int status;
	const char *body;
};

static const struct good goods[] = {
	{HEAD "Content-Length: 5\r\n\r\nhello", 200, "hello"},
	{HEAD "content-LENGTH:5\r\n\r\nhello and more", 200, "hello"},
	{HEAD "Content-Length: 0\r\n\r\n", 200, ""},
	{HEAD "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 200, "abc"},
	{"HTTP/1.0 503 Busy\n\nto the end", 503, "to the end"},
	{"HTTP/1.1 204\r\n\r\n", 204, ""},
	{"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 304, ""},
	{HEAD "Transfer-Encoding: Chunked\r\n\r\n4\r\nwiki\r\n6;x=y\r\npedia \r\nB\r\nin chunks.."
	      "\r\n0\r\nTrailer: x\r\n\r\n",
	 200, "wikipedia in chunks.."},
	{HEAD "Content-Length: 999\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 200,
	 "x"},
	{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" HEAD
	 "Content-Length: 2\r\n\r\nok",
	 200, "ok"},
};

struct bad {
	const char *text;
	int error;
	const char *reason;
};

static const struct bad bads[] = {
	{"", -EPROTO, "without an answer"},
	{"SSH-2.0-OpenSSH\r\n", -EPROTO, "right port"},
	{"HTTP/2 200\r\n\r\n", -EPROTO, "no HTTP/1"},
	{"HTTP/1.1 20x\r\n\r\n", -EPROTO, "no HTTP/1"},
	{"HTTP/1.1 2000\r\n\r\n", -EPROTO, "no HTTP/1"},
	{"HTTP/1.1 099\r\n\r\n", -EPROTO, "no HTTP/1"},
	{"HTTP/1.1 20", -EPROTO, "mid-answer"},
	{HEAD "Content-Length: 5\r\n\r\nhell", -EPROTO, "mid-answer"},
	{HEAD "Content-Length: 5\r\n", -EPROTO, "mid-answer"},
	{HEAD "Content-Length: -5\r\n\r\n", -EPROTO, "Content-Length"},
	{HEAD "Content-Length: 5x\r\n\r\n", -EPROTO, "Content-Length"},
	{HEAD "Content-Length: \r\n\r\n", -EPROTO, "Content-Length"},
	{HEAD "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", -EPROTO, "Content-Length"},
	{HEAD "Content-Length: 1048577\r\n\r\n", -EMSGSIZE, "larger"},
	{HEAD "Content-Length: 99999999999999999999999999\r\n\r\n", -EMSGSIZE, "larger"},
	{HEAD "no colon\r\n\r\n", -EPROTO, "header field"},
	{HEAD ": no name\r\n\r\n", -EPROTO, "header field"},
	{HEAD "A: b\r\n folded\r\n\r\n", -EPROTO, "header field"},
	{HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n", -EPROTO, "transfer encoding"},
	{HEAD "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", -EPROTO, "malformed chunk"},
	{HEAD "Transfer-Encoding: chunked\r\n\r\n\r\n", -EPROTO, "malformed chunk"},
	{HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", -EPROTO, "longer than it says"},
	{HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n", -EPROTO, "mid-answer"},
	{HEAD "Transfer-Encoding: chunked\r\n\r\n100001\r\n", -EMSGSIZE, "larger"},
	{HEAD "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", -EMSGSIZE, "larger"},
};

/* feed in pieces of step bytes, then the end */
static int feed(struct http_parser *p, const char *text, size_t step, struct snap_error *err)
{
	size_t size = strlen(text);

	for (size_t at = 0; at < size; at += step) {
		size_t n = size - at < step ? size - at : step;
		int r = http_parser_feed(p, text + at, n, err);

		if (r != 0)
			return r == HTTP_PARSER_IS_COMPLETE ? 0 : r;
	}
	return http_parser_feed_end(p, err);
}

static void test_responses_are_understood_in_pieces_of_any_size(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(goods); i++) {
		for (size_t step = 1; step <= strlen(goods[i].text); step++) {
			struct snap_error err = {0};
			struct http_parser p;

			http_parser_init(&p);
			if (feed(&p, goods[i].text, step, &err) != 0)
				fail_msg("response %zu in steps of %zu: %s", i, step, err.msg);
			assert_int_equal(p.status, goods[i].status);
			assert_string_equal(p.body ? p.body : "", goods[i].body);
			assert_int_equal(p.body_size, strlen(goods[i].body));
			http_parser_done(&p);
		}
	}
}

static void test_faulty_responses_are_refused_with_a_reason(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
		for (size_t step = 1; step <= strlen(bads[i].text) + 1; step++) {
			struct snap_error err = {0};
			struct http_parser p;

			http_parser_init(&p);
			assert_int_equal(feed(&p, bads[i].text, step, &err), bads[i].error);
			if (!strstr(err.msg, bads[i].reason))
				fail_msg("response %zu: %s", i, err.msg);
			http_parser_done(&p);
		}
	}
}

/* feed text over and over; the first error, and how much was fed by then */
static int feed_for_ever(const char *start, const char *more, size_t *ret_fed)
{
	struct snap_error err = {0};
	struct http_parser p;
	size_t fed = strlen(start);
	int r;

	http_parser_init(&p);
	r = http_parser_feed(&p, start, strlen(start), &err);
	while (r == 0 && fed < 64U << 20) {
		r = http_parser_feed(&p, more, strlen(more), &err);
		fed += strlen(more);
	}
	http_parser_done(&p);
	*ret_fed = fed;
	return r;
}

static void test_endless_responses_are_cut_at_their_limit(void **state)
{
	char kib[1025];
	size_t fed;

	(void)state;
	memset(kib, 'x', sizeof(kib) - 1);
	kib[sizeof(kib) - 1] = '\0';

	assert_int_equal(feed_for_ever("", kib, &fed), -EMSGSIZE);
	assert_true(fed <= HTTP_LINE_MAX + sizeof(kib));
	assert_int_equal(feed_for_ever(HEAD, "A: b\r\n", &fed), -EMSGSIZE);
	assert_true(fed <= HTTP_HEAD_MAX + 64);
	assert_int_equal(feed_for_ever("", "HTTP/1.1 100 Continue\r\n\r\n", &fed), -EMSGSIZE);
	assert_true(fed <= HTTP_HEAD_MAX + 64);
	assert_int_equal(feed_for_ever(HEAD "\r\n", kib, &fed), -EMSGSIZE);
	assert_true(fed <= HTTP_BODY_MAX + 2 * sizeof(kib));
	assert_int_equal(
		feed_for_ever(HEAD "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n", &fed),
		-EMSGSIZE);
	assert_int_equal(
		feed_for_ever(HEAD "Transfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n", &fed),
		-EMSGSIZE);
	assert_true(fed <= HTTP_FRAMING_MAX + 128);
}

static void test_largest_body_fits(void **state)
{
	char kib[1024], head[64];
	struct http_parser p;
	int r;

	(void)state;
	memset(kib, 'x', sizeof(kib));
	(void)snprintf(head, sizeof(head), HEAD "Content-Length: %u\r\n\r\n", HTTP_BODY_MAX);
	http_parser_init(&p);
	r = http_parser_feed(&p, head, strlen(head), NULL);
	for (unsigned int i = 0; i < HTTP_BODY_MAX / sizeof(kib); i++) {
		assert_int_equal(r, 0);
		r = http_parser_feed(&p, kib, sizeof(kib), NULL);
	}
	assert_int_equal(r, HTTP_PARSER_IS_COMPLETE);
	assert_int_equal(p.body_size, HTTP_BODY_MAX);
	http_parser_done(&p);
}

static void test_nul_bytes_belong_in_bodies_only(void **state)
{
	static const char in_body[] = HEAD "Content-Length: 3\r\n\r\na\0b";
	static const char in_head[] = HEAD "A: \0\r\n\r\n";
	struct http_parser p;

	(void)state;
	http_parser_init(&p);
	assert_int_equal(http_parser_feed(&p, in_body, sizeof(in_body) - 1, NULL),
			 HTTP_PARSER_IS_COMPLETE);
	assert_memory_equal(p.body, "a\0b", 4);
	http_parser_done(&p);
	assert_int_equal(http_parser_feed(&p, in_head, sizeof(in_head) - 1, NULL), -EPROTO);
	http_parser_done(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_responses_are_understood_in_pieces_of_any_size),
		cmocka_unit_test(test_faulty_responses_are_refused_with_a_reason),
		cmocka_unit_test(test_endless_responses_are_cut_at_their_limit),
		cmocka_unit_test(test_largest_body_fits),
		cmocka_unit_test(test_nul_bytes_belong_in_bodies_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
