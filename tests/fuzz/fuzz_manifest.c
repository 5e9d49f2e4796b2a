/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "snapshot/manifest.h"
#include "snapshot/manifest_json.h"

#include "tests/fuzz/fuzz_target.h"

/* What is accepted can be written, and what is written is read as the same. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct manifest first, second;
	struct snap_error err = {0};
	char *text, *again;
	size_t text_size, again_size;

	if (manifest_parse((const char *)data, size, &first, &err) < 0) {
		FUZZ_CHECK(err.code != SNAP_OK);
		FUZZ_CHECK(err.msg[0] != '\0' && !strchr(err.msg, '\n'));
		return 0;
	}
	FUZZ_CHECK(first.schema == MANIFEST_SCHEMA && first.n_pids > 0);
	FUZZ_CHECK(manifest_format(&first, &text, &text_size, &err) == 0);
	/* blanks may make the text longer than what came in */
	if (text_size <= MANIFEST_SIZE_MAX) {
		FUZZ_CHECK(manifest_parse(text, text_size, &second, &err) == 0);
		FUZZ_CHECK(manifest_format(&second, &again, &again_size, &err) == 0);
		FUZZ_CHECK(text_size == again_size && memcmp(text, again, text_size) == 0);
		free(again);
		manifest_done(&second);
	}
	free(text);
	manifest_done(&first);
	return 0;
}
