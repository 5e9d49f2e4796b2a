/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/criu/runnable.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/criu/image.h"

#define CORE_FILE_MAX (1U << 20)

/* CRIU's images/core.proto, compel's task-state.h */
#define CORE_TASK     3U /* threads beside the first have none */
#define TASK_STATE    1U
#define STATE_ALIVE   1U
#define STATE_STOPPED 3U

/* where the byte is that says "stopped"; NULL: nowhere */
static const unsigned char *find_state(struct image_bytes task)
{
	struct image_field field;

	while (image_field_next(&task, &field) > 0) {
		if (field.number == TASK_STATE && field.wire == IMAGE_WIRE_VARINT &&
		    field.value == STATE_STOPPED)
			return task.at - 1;
	}
	return NULL;
}

int runnable_make(int fd, const char *name, struct snap_error *err)
{
	static const unsigned char alive = STATE_ALIVE;
	snap_cleanup_free unsigned char *data = NULL;
	const unsigned char *state = NULL;
	struct image_bytes record;
	struct image image;
	struct stat st;

	if (strncmp(name, "core-", strlen("core-")) != 0)
		return 0;
	if (fstat(fd, &st) < 0 || st.st_size > CORE_FILE_MAX)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EFBIG, "'%s' is too large", name);
	data = malloc((size_t)st.st_size + 1);
	if (!data)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot read '%s'", name);
	if (pread(fd, data, (size_t)st.st_size, 0) != st.st_size)
		return snap_fail(err, SNAP_E_INTERNAL, EIO, "cannot read '%s'", name);
	if (image_parse(data, (size_t)st.st_size, name, IMAGE_MAGIC_CORE, &image, err) < 0)
		return -EUCLEAN;
	if (image_next(&image, &record, err) > 0 && image_sub(record, CORE_TASK, &record) > 0)
		state = find_state(record);
	if (state && pwrite(fd, &alive, 1, state - data) != 1)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot write '%s'", name);
	return 0;
}
