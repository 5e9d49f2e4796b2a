/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_ARCHIVE_PACK_H
#define SNAP_SNAPSHOT_ARCHIVE_PACK_H

/* A generation as one tar stream (docs/formats/store.md 6); equal generations are equal bytes. */

#include <stdatomic.h>
#include <stdint.h>

#include "common/error.h"

enum archive_compress {
	ARCHIVE_COMPRESS_ZSTD,
	ARCHIVE_COMPRESS_NONE,
};

/* what both directions are told and tell */
struct archive_talk {
	const atomic_bool *stop; /* -ECANCELED soon after it is true; may be NULL */
	void (*progress)(void *arg, uint64_t done, uint64_t total); /* bytes of members; or NULL */
	void *arg;
	int stall_ms; /* import, where the lease is kept: the input may give nothing for so long; 0:
			 60 s */
};

struct archive_result {
	uint64_t files;
	uint64_t bytes;		/* of the members */
	uint64_t archive_bytes; /* of the stream */
};

/*
 * Write to `to`, which may be a pipe, from where it stands. Every digest and checksum is compared
 * on the way; after a failure what was written is no whole archive.
 */
int archive_pack(int gen_fd, int to, enum archive_compress compress,
		 const struct archive_talk *talk, struct archive_result *ret,
		 struct snap_error *err);

#endif
