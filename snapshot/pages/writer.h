/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_WRITER_H
#define SNAP_SNAPSHOT_PAGES_WRITER_H

/*
 * Copy the planned pages of a stopped tree into the data file, on threads: read, leave zero pages
 * out, checksum, compress, write. What is read stays as it is.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/pages/codec.h"
#include "snapshot/pages/device.h"
#include "snapshot/pages/plan.h"

struct pages_write_options {
	unsigned int threads; /* 0: as many as CPUs, at most PAGES_THREADS_MAX */
	enum codec_choice compress;
	/* of a plan of devices: nobody can be asked to stop it, for there is no way back. Else NULL
	 */
	const struct page_device *device;
	bool is_reserved; /* the data file is there, by pages_reserve() */
};

struct pages_write_result {
	uint64_t stored_bytes; /* of memory, before compression */
	uint64_t zero_bytes;
	uint64_t written_bytes; /* into the data file */
	uint64_t shared_bytes;	/* of chunks that another one's data serves */
};

#define PAGES_THREADS_MAX 4U

/*
 * Make the data file (0600) with room for so many bytes, where the file system can say that it has
 * it; pages_write() cuts off what it does not need. SNAP_E_DUMP.
 */
int pages_reserve(int gen_fd, enum page_files files, uint64_t bytes, struct snap_error *err);

/*
 * Make the data file (0600) below gen_fd and fill in plan->map (chunks, extents, data_bytes, what
 * the regions stored). The map is not written. SNAP_E_DUMP on any failure; the data may then be
 * left half written.
 */
int pages_write(struct pages_plan *plan, int gen_fd, const struct pages_write_options *options,
		struct pages_write_result *ret, struct snap_error *err);

#endif
