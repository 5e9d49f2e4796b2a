/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/snapshot/sample.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/io.h"

#include "tests/lib/test.h"

void sample_manifest(struct manifest *ret)
{
	snap_cleanup_free char *text = NULL;
	struct snap_error err = {0};
	size_t size;

	assert_int_equal(io_read_file(AT_FDCWD, SNAP_TEST_DATA "/good.json", MANIFEST_SIZE_MAX,
				      &text, &size, NULL),
			 0);
	if (manifest_parse(text, size, ret, &err) < 0)
		fail_msg("good.json: %s", err.msg);
}

void sample_set(char **where, const char *value)
{
	free(*where);
	*where = value ? strdup(value) : NULL;
}
