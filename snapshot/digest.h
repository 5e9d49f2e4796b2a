/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_DIGEST_H
#define SNAP_SNAPSHOT_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

/* XXH3-128 of a file below dir_fd in hex, and its size; never follows links */
int file_digest(int dir_fd, const char *name, char ret_hex[33], uint64_t *ret_size,
		struct snap_error *err);

/*
 * Has the file this size and this digest? SNAP_E_CORRUPT (-EUCLEAN) tells which is another. Size
 * first, and never more than that is read: a hole of terabytes costs nothing.
 */
int file_verify(int dir_fd, const char *name, uint64_t size, const char *hex,
		struct snap_error *err);

/* the same digest of memory */
void data_digest(const void *data, size_t size, char ret_hex[33]);

/* the same of bytes that come piece by piece */
struct digest {
	struct XXH3_state_s *state;
};

int digest_begin(struct digest *digest); /* 0 or -ENOMEM */
void digest_add(struct digest *digest, const void *bytes, size_t size);
void digest_end(struct digest *digest, char ret_hex[33]);
void digest_done(struct digest *digest); /* idempotent, of a zeroed one too */

#endif
