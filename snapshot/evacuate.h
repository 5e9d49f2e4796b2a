/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_EVACUATE_H
#define SNAP_SNAPSHOT_EVACUATE_H

/*
 * Move the memory of a stopped tree into page files, so that CRIU has little to dump and a wake
 * can stream it back. Nothing is dropped from a process before all of it is in the page files and
 * pages.map is written: from then on a refill makes the tree whole, as often as it is tried.
 */

#include <stdbool.h>

#include "common/error.h"
#include "snapshot/pages/writer.h"
#include "snapshot/recovery.h"
#include "snapshot/task/tree.h"

struct evacuation {
	struct pages_plan plan;
	struct pages_write_result written;
	bool made;    /* pages.map and pages.dat are there */
	bool dropped; /* the tree's memory has holes */
	bool unsure;  /* an injection broke off: threads may not be what they were */
};

struct evacuate_config {
	struct pages_write_options write;
	const char *store_path; /* where gen_fd lies, for the journal */
	const char *generation;
	struct recovery_journal *journal;
	/*
	 * Somebody else keeps descriptors of the generation's folder, pages.map and pages.dat until
	 * the tree is whole, so that it can be made whole whatever happens to us and to the store.
	 * NULL: nobody does
	 */
	int (*keep)(void *arg, const struct recovery_files *files, struct snap_error *err);
	void *arg;
};

/*
 * The tree must be in group-stop and exactly this. On failure ret->dropped says whether a refill
 * is due. *ret is the caller's to evacuation_done(), after a failure too.
 */
int evacuate(const struct task_tree *tree, int gen_fd, const struct evacuate_config *config,
	     struct evacuation *ret, struct snap_error *err);

/*
 * The same bytes back into the same tree, which is still stopped; dropped becomes false and the
 * journal is told, so that nobody needs the generation any more. It still knows the threads.
 */
int evacuation_refill(struct evacuation *evacuation, int gen_fd,
		      const struct recovery_journal *journal, struct snap_error *err);

void evacuation_done(struct evacuation *evacuation); /* idempotent; refills nothing */

#endif
