/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_MAPPINGS_H
#define SNAP_SNAPSHOT_TASK_MAPPINGS_H

/*
 * The mappings of a process with what smaps adds to maps: how much is there, and the kernel's
 * flags. Exact only while the process is stopped.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/* of smaps' VmFlags, those that somebody here looks at */
enum mapping_flag {
	MAPPING_GROWSDOWN = 1, /* gd */
	MAPPING_LOCKED = 2,    /* lo */
	MAPPING_HUGETLB = 4,   /* ht */
	MAPPING_SPECIAL = 8,   /* pf, io, mm, ss, um, uw, ui, wf, dp: device memory, shadow stacks,
				  userfaultfd, wipe-on-fork, droppable */
	MAPPING_NO_HUGE = 16,  /* nh */
	MAPPING_HUGE = 32,     /* hg */
};

struct mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset; /* in the file or object */
	dev_t dev;
	uint64_t inode;
	int prot;
	bool shared;
	uint32_t flags;		  /* enum mapping_flag */
	uint64_t resident_bytes;  /* Rss and Swap */
	uint64_t anonymous_bytes; /* Anonymous and Swap: private pages that no file holds */
	const char *path;	  /* "" for anonymous memory; in the list's own memory */
};

struct mappings {
	struct mapping *items; /* ascending */
	size_t n;
	char *paths;
};

/* -ESRCH or -ENOENT: no such process */
int mappings_load(pid_t pid, struct mappings *ret, struct snap_error *err);
void mappings_done(struct mappings *mappings); /* idempotent */

#endif
