/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_KEPT_H
#define SNAP_SNAPSHOT_TASK_KEPT_H

/*
 * Pages of a stopped process that must be in place when CRIU hands its threads over, because the
 * kernel or CRIU's restorer reads or writes them then: stack pages in use, and for every thread
 * TLS, rseq area, clear_tid word and robust list head. They stay in CRIU's images.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/task/injector.h"

enum kept_reason {
	KEPT_STACK = 1,
	KEPT_THREAD = 2,
};

struct kept_page {
	uint64_t address; /* page-aligned */
	uint32_t reason;  /* enum kept_reason, bits */
};

struct kept_pages {
	struct kept_page *pages; /* ascending, no page twice */
	size_t n;
};

/*
 * Looks at every thread of the group-stopped process pid (by ptrace; each is in group-stop again
 * afterwards), all its memory is as before then. Where the clear_tid word cannot be asked for (a
 * seccomp filter that we may not suspend: it could answer with death; an old kernel), the pages are
 * kept where a libc has it, behind the thread pointer. *ret is the caller's to kept_pages_done().
 * -EBUSY: a thread is not stopped; -E2BIG: too many mappings or threads.
 * note (NULL: none) is called for every thread, injected or not; note_arg: see struct injector.
 */
int kept_pages_collect(pid_t pid, injector_note_fn note, void *note_arg, struct kept_pages *ret,
		       struct snap_error *err);
void kept_pages_done(struct kept_pages *kept); /* idempotent */

/* reasons for the page at address, 0: not kept */
uint32_t kept_pages_reason(const struct kept_pages *kept, uint64_t address);

#endif
