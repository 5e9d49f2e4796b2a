/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_PLAN_H
#define SNAP_SNAPSHOT_PAGES_PLAN_H

/*
 * Which pages of a stopped tree go to page files, which stay with CRIU, and why. Private memory
 * goes page by page: what has a private copy and nobody else shares. Shared memory (memfds and
 * shared anonymous mappings) goes object by object. Small trees stay with CRIU as a whole.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/pages/map.h"
#include "snapshot/task/injector.h"
#include "snapshot/task/tree.h"

#define PAGES_PLAN_MIN_BYTES (1U << 20) /* less is quicker by CRIU */

enum pages_run_flag {
	PAGES_RUN_READ_ONLY = 1,  /* the mapping lacks PROT_WRITE */
	PAGES_RUN_UNREADABLE = 2, /* the mapping lacks PROT_READ: through /proc/PID/mem */
	PAGES_RUN_KEEP_ZEROS = 4, /* without a page of ours the file's content would show */
	PAGES_RUN_NO_HUGE = 8,	  /* the mapping wants no huge pages */
};

/* pages in a row, present, that go to page files */
struct pages_run {
	uint64_t address; /* or offset in the object */
	uint64_t bytes;
	uint32_t space;	 /* index into map.spaces */
	uint32_t region; /* index into map.regions */
	uint32_t flags;	 /* enum pages_run_flag */
};

/* what is to be dropped once the runs are stored; covers holes between runs, no kept page */
struct pages_drop {
	uint32_t space;
	uint64_t start;
	uint64_t end;
};

struct pages_plan {
	struct page_map map; /* spaces and regions; chunks and extents are the writer's */
	struct pages_run *runs;
	size_t n_runs;
	struct pages_drop *drops;
	size_t n_drops;
	uint64_t bytes; /* in runs */
};

/*
 * The tree must be in group-stop. A plan without runs is an outcome: everything stays with CRIU.
 * note and note_arg: see struct injector. *ret is the caller's to pages_plan_done().
 */
int pages_plan_make(const struct task_tree *tree, injector_note_fn note, void *note_arg,
		    struct pages_plan *ret, struct snap_error *err);
void pages_plan_done(struct pages_plan *plan); /* idempotent */

/* append; 0 or -ENOMEM */
int pages_plan_add_run(struct pages_plan *plan, const struct pages_run *run);
int pages_plan_add_drop(struct pages_plan *plan, const struct pages_drop *drop);

/* the objects of shared memory that the tree maps or holds open (plan_shared.c) */
int pages_plan_add_shared(const struct task_tree *tree, struct pages_plan *plan,
			  struct snap_error *err);

#endif
