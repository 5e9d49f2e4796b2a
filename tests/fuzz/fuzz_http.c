/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/http_parser.h"

#include "tests/fuzz/fuzz_target.h"

/* The first byte says in how large pieces the rest arrives; pieces must make no difference. */

static int parse(struct http_parser *p, const char *data, size_t size, size_t step)
{
	int r = 0;

	http_parser_init(p);
	for (size_t at = 0; at < size && r == 0; at += step)
		r = http_parser_feed(p, data + at, size - at < step ? size - at : step, NULL);
	if (r == 0)
		r = http_parser_feed_end(p, NULL);
	else if (r == HTTP_PARSER_IS_COMPLETE)
		r = 0;
	FUZZ_CHECK(r <= 0);
	FUZZ_CHECK(p->body_size <= HTTP_BODY_MAX);
	FUZZ_CHECK(!p->body || p->body[p->body_size] == '\0');
	if (r == 0) {
		FUZZ_CHECK(p->state == HTTP_PARSER_COMPLETE);
		FUZZ_CHECK(p->status >= 200 && p->status <= 999);
	}
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_parser whole, pieces;
	const char *text = (const char *)data + 1;
	int r;

	if (size < 2)
		return 0;
	size--;
	r = parse(&whole, text, size, size);
	FUZZ_CHECK(parse(&pieces, text, size, (size_t)data[0] + 1) == r);
	if (r == 0) {
		FUZZ_CHECK(whole.status == pieces.status);
		FUZZ_CHECK(whole.body_size == pieces.body_size);
		FUZZ_CHECK(whole.body_size == 0 ||
			   memcmp(whole.body, pieces.body, whole.body_size) == 0);
	}
	http_parser_done(&whole);
	http_parser_done(&pieces);
	return 0;
}
