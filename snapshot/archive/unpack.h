/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_ARCHIVE_UNPACK_H
#define SNAP_SNAPSHOT_ARCHIVE_UNPACK_H

/*
 * Out of a tar stream into a generation's folder. The manifest comes first and says which members
 * follow, in which order and how large; whatever else the stream holds is refused before a byte of
 * it is written, so a stream cannot name a place of its own.
 */

#include "common/error.h"
#include "snapshot/archive/members.h"
#include "snapshot/archive/pack.h"

struct unpack {
	int from;
	int errnum;   /* why the last read failed */
	int stall_ms; /* the input may give nothing for so long; 0: for ever */
	const struct archive_talk *talk;
	struct archive *tar;
	struct archive_result result;
	struct manifest m;
	char *text; /* the manifest as it came */
	size_t text_size;
	struct members members;
	struct page_map maps[PAGE_FILES_MAX_];
	uint64_t total; /* expected; grows when a page map is there */
	unsigned char *read_buf;
	unsigned char *buf;
};

/* SNAP_E_CORRUPT for anything that is no archive of ours: then nothing was written anywhere */
int unpack_begin(struct unpack *u, int from, const struct archive_talk *talk,
		 struct snap_error *err);

/*
 * All members but the manifest, each compared with its digest or checksums. check_space() is asked
 * before page data is written.
 */
int unpack_members(struct unpack *u, int gen_fd,
		   int (*check_space)(void *arg, uint64_t bytes, struct snap_error *err), void *arg,
		   struct snap_error *err);

void unpack_done(struct unpack *u); /* idempotent, of a zeroed one too */

#endif
