/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/engine.h"

#include "tests/fuzz/fuzz_target.h"

/* What parses can be printed, what was printed parses to the same; options never crash. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *const argv[] = {NULL};
	char text[8192], printed[ENGINE_REQUEST_TEXT_MAX], again[ENGINE_REQUEST_TEXT_MAX];
	const struct engine_config config = {.ready = text, .warmup = -1, .argv = argv};
	struct engine_request request, back;
	struct engine engine;
	struct snap_error err = {0};

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';

	if (engine_request_parse(text, &request, &err) == 0) {
		FUZZ_CHECK(engine_request_format(&request, printed, sizeof(printed)) == 0);
		FUZZ_CHECK(engine_request_parse(printed, &back, NULL) == 0);
		FUZZ_CHECK(engine_request_format(&back, again, sizeof(again)) == 0);
		FUZZ_CHECK(strcmp(printed, again) == 0);
		/* nothing that could begin another request on the wire */
		FUZZ_CHECK(!strpbrk(request.path, " \r\n") && !strpbrk(request.host, " \r\n"));
	} else {
		FUZZ_CHECK(err.msg[0] != '\0');
	}
	(void)engine_init(&engine, &config, &err);
	return 0;
}
