/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_DEVICE_FILES_H
#define SNAP_SNAPSHOT_DEVICE_FILES_H

/*
 * device.map and device.dat of a generation: what a tree has in device memory, where the driver
 * lets us copy it (CustomStorage). The format, checks and threads are those of pages.map and
 * pages.dat.
 */

#include <stdbool.h>

#include "common/error.h"
#include "snapshot/gpu/checkpoint.h"
#include "snapshot/pages/fill.h"
#include "snapshot/pages/writer.h"

struct device_files {
	int gen_fd; /* borrowed */
	struct page_map map;
	bool is_reserved;	    /* device.dat is there, and takes its place on the disk */
	enum codec_choice compress; /* save */
	struct fill_options fill;   /* load */
	struct pages_write_result written;
	bool is_saved; /* from before note() on */
	/* all is saved, before anything is completed; 0 or negative errno. NULL: nobody wants to
	 * know */
	int (*note)(void *arg, struct snap_error *err);
	void *arg;
};

/* room for so many bytes, once; SNAP_E_DUMP when the disk has none */
int device_files_reserve(struct device_files *files, uint64_t bytes, struct snap_error *err);

/* those of a struct gpu_content, whose arg is the files */
struct gpu_content device_files_content(struct device_files *files);

void device_files_done(struct device_files *files); /* idempotent */

#endif
