/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/beneath.h"

#define CHUNK (1U << 20)

static void free_state(XXH3_state_t **state)
{
	(void)XXH3_freeState(*state);
	*state = NULL;
}

static void format_digest(XXH128_hash_t hash, char ret_hex[33])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, hash);
	for (size_t i = 0; i < sizeof(canonical.digest); i++)
		(void)snprintf(ret_hex + 2 * i, 3, "%02x", canonical.digest[i]);
}

int file_digest(int dir_fd, const char *name, char ret_hex[33], uint64_t *ret_size,
		struct snap_error *err)
{
	snap_cleanup(free_state) XXH3_state_t *state = XXH3_createState();
	snap_cleanup_free char *buf = malloc(CHUNK);
	snap_cleanup_close int fd = FD_NONE;
	uint64_t size = 0;
	struct stat st;
	ssize_t n;

	if (!state || !buf || XXH3_128bits_reset(state) != XXH_OK)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot digest '%s'", name);

	fd = beneath_open(dir_fd, name, O_RDONLY | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, -fd, "cannot open '%s'", name);
	if (fstat(fd, &st) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot read '%s'", name);
	if (!S_ISREG(st.st_mode)) {
		(void)snap_fail(err, SNAP_E_CORRUPT, 0, "'%s' is no regular file", name);
		return -EBADMSG;
	}

	while ((n = io_read_full(fd, buf, CHUNK)) > 0) {
		(void)XXH3_128bits_update(state, buf, (size_t)n);
		size += (uint64_t)n;
	}
	if (n < 0)
		return snap_fail(err, SNAP_E_CORRUPT, (int)-n, "cannot read '%s'", name);
	format_digest(XXH3_128bits_digest(state), ret_hex);
	*ret_size = size;
	return 0;
}
