/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_DIGEST_H
#define SNAP_SNAPSHOT_DIGEST_H

#include <stdint.h>

#include "common/error.h"

/* XXH3-128 of a file below dir_fd in hex, and its size; never follows links */
int file_digest(int dir_fd, const char *name, char ret_hex[33], uint64_t *ret_size,
		struct snap_error *err);

#endif
