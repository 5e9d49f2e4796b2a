/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/beneath.h"

#define CHUNK (1U << 20)

static void format_digest(XXH128_hash_t hash, char ret_hex[33])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, hash);
	for (size_t i = 0; i < sizeof(canonical.digest); i++)
		(void)snprintf(ret_hex + 2 * i, 3, "%02x", canonical.digest[i]);
}

void data_digest(const void *data, size_t size, char ret_hex[33])
{
	format_digest(XXH3_128bits(data, size), ret_hex);
}

int digest_begin(struct digest *digest)
{
	digest->state = XXH3_createState();
	return digest->state && XXH3_128bits_reset(digest->state) == XXH_OK ? 0 : -ENOMEM;
}

void digest_add(struct digest *digest, const void *bytes, size_t size)
{
	(void)XXH3_128bits_update(digest->state, bytes, size);
}

void digest_end(struct digest *digest, char ret_hex[33])
{
	format_digest(XXH3_128bits_digest(digest->state), ret_hex);
}

void digest_done(struct digest *digest)
{
	(void)XXH3_freeState(digest->state);
	digest->state = NULL;
}

/* a regular file below dir_fd, or -errno; a fifo in its place does not hold us up */
static int open_regular(int dir_fd, const char *name, struct stat *ret, struct snap_error *err)
{
	snap_cleanup_close int fd = beneath_open(dir_fd, name, O_RDONLY | O_NOCTTY | O_NONBLOCK);

	if (fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, -fd, "cannot open '%s'", name);
	if (fstat(fd, ret) < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot read '%s'", name);
	if (!S_ISREG(ret->st_mode))
		return snap_fail_plain(err, SNAP_E_CORRUPT, EBADMSG, "'%s' is no regular file",
				       name);
	return TAKE_FD(fd);
}

/* of the first max bytes */
static int digest_fd(int fd, const char *name, uint64_t max, char ret_hex[33], uint64_t *ret_size,
		     struct snap_error *err)
{
	snap_cleanup(digest_done) struct digest digest = {NULL};
	snap_cleanup_free char *buf = malloc(CHUNK);
	uint64_t size = 0;
	ssize_t n = 1;

	if (digest_begin(&digest) < 0 || !buf)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot digest '%s'", name);
	while (n > 0 && size < max) {
		n = io_read_full(fd, buf, max - size < CHUNK ? (size_t)(max - size) : CHUNK);
		if (n < 0)
			return snap_fail(err, SNAP_E_CORRUPT, (int)-n, "cannot read '%s'", name);
		digest_add(&digest, buf, (size_t)n);
		size += (uint64_t)n;
	}
	digest_end(&digest, ret_hex);
	*ret_size = size;
	return 0;
}

int file_digest(int dir_fd, const char *name, char ret_hex[33], uint64_t *ret_size,
		struct snap_error *err)
{
	struct stat st;
	snap_cleanup_close int fd = open_regular(dir_fd, name, &st, err);

	return fd < 0 ? fd : digest_fd(fd, name, UINT64_MAX, ret_hex, ret_size, err);
}

int file_verify(int dir_fd, const char *name, uint64_t size, const char *hex,
		struct snap_error *err)
{
	struct stat st;
	snap_cleanup_close int fd = open_regular(dir_fd, name, &st, err);
	uint64_t found = fd < 0 ? 0 : (uint64_t)st.st_size;
	char digest[33];
	int r;

	if (fd < 0)
		return fd;
	r = found == size ? digest_fd(fd, name, size, digest, &found, err) : 0;
	if (r < 0)
		return r;
	if (found != size)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
				       "'%s' has %" PRIu64 " bytes, the manifest says %" PRIu64,
				       name, found, size);
	if (strcmp(digest, hex) != 0)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EUCLEAN,
				       "'%s' is damaged: digest %s, the manifest says %s", name,
				       digest, hex);
	return 0;
}
