/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_WRITER_H
#define SNAP_SNAPSHOT_PAGES_WRITER_H

/*
 * Copy the planned pages of a stopped tree into pages.dat, on threads: read, leave zero pages out,
 * checksum, compress, write. The tree's memory is only read.
 */

#include <stdint.h>

#include "common/error.h"
#include "snapshot/pages/codec.h"
#include "snapshot/pages/plan.h"

struct pages_write_options {
	unsigned int threads; /* 0: as many as CPUs, at most PAGES_THREADS_MAX */
	enum codec_choice compress;
};

struct pages_write_result {
	uint64_t stored_bytes; /* of memory, before compression */
	uint64_t zero_bytes;
	uint64_t written_bytes; /* into pages.dat */
	uint64_t shared_bytes;	/* of chunks that another one's data serves */
};

#define PAGES_THREADS_MAX 4U

/*
 * Make pages.dat (0600) below gen_fd and fill in plan->map (chunks, extents, data_bytes, what the
 * regions stored). pages.map is not written. SNAP_E_DUMP on any failure; pages.dat may then be
 * left half written.
 */
int pages_write(struct pages_plan *plan, int gen_fd, const struct pages_write_options *options,
		struct pages_write_result *ret, struct snap_error *err);

#endif
