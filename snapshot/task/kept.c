/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/kept.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/procfs.h"
#include "snapshot/pages/map.h"
#include "snapshot/steps.h"
#include "snapshot/task/injector.h"
#include "snapshot/task/procmaps.h"
#include "snapshot/task/scratch.h"
#include "snapshot/task/threads.h"
#include "snapshot/task/tree.h"

#ifndef PR_GET_TID_ADDRESS
#	define PR_GET_TID_ADDRESS 40
#endif

#define MAPPINGS_MAX	(1U << 20)
#define PAGES_MAX	(TREE_TASKS_MAX * 16U)
#define RED_ZONE_BYTES	128U /* below sp, the function's own (x86-64 ABI) */
#define STACK_PAGES	5U
#define RSEQ_BYTES_MIN	32U
#define ROBUST_BYTES	24U /* struct robust_list_head */
#define CLEAR_TID_BYTES 4U

struct mapping {
	uint64_t start;
	uint64_t end;
	bool private_writable;
};

struct collector {
	struct mapping *mappings; /* ascending */
	size_t n_mappings;
	size_t mappings_room;
	struct kept_pages kept;
	size_t room;
	uint64_t syscall_at;
	struct snap_error *err;
	injector_note_fn note;
	void *note_arg;
};

static void collector_done(struct collector *c)
{
	free(c->mappings);
	c->mappings = NULL;
	kept_pages_done(&c->kept);
}

/* items with room for one more than n; NULL: no memory, or beyond max (errno) */
static void *room_for_one(void *items, size_t n, size_t *room, size_t max, size_t item_bytes)
{
	size_t wanted = *room ? *room * 2 : 256;
	void *bigger;

	if (n < *room)
		return items;
	if (n >= max) {
		errno = E2BIG;
		return NULL;
	}
	bigger = reallocarray(items, wanted, item_bytes);
	if (bigger)
		*room = wanted;
	return bigger;
}

static int read_mappings(struct collector *c, pid_t pid)
{
	snap_cleanup_procmaps struct procmaps maps;
	struct proc_map map;
	int r = procmaps_open(&maps, pid);

	if (r < 0)
		return r == -ENOENT ? -ESRCH : r;
	while ((r = procmaps_next(&maps, &map)) > 0) {
		struct mapping *mappings =
			room_for_one(c->mappings, c->n_mappings, &c->mappings_room, MAPPINGS_MAX,
				     sizeof(*mappings));

		if (!mappings)
			return -errno;
		c->mappings = mappings;
		mappings[c->n_mappings++] = (struct mapping){
			.start = map.start,
			.end = map.end,
			.private_writable = !map.shared && (map.prot & PROT_WRITE),
		};
	}
	return r;
}

/* the mapping that holds address, or NULL */
static const struct mapping *find_mapping(const struct collector *c, uint64_t address)
{
	size_t low = 0, high = c->n_mappings;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (c->mappings[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < c->n_mappings && c->mappings[low].start <= address ? &c->mappings[low] : NULL;
}

static int keep_page(struct collector *c, uint64_t page, uint32_t reason)
{
	struct kept_page *pages =
		room_for_one(c->kept.pages, c->kept.n, &c->room, PAGES_MAX, sizeof(*pages));

	if (!pages)
		return -errno;
	c->kept.pages = pages;
	pages[c->kept.n++] = (struct kept_page){page, reason};
	return 0;
}

/* the mapped ones of the pages that hold some of these bytes */
static int keep_bytes(struct collector *c, uint64_t address, uint64_t bytes, uint32_t reason)
{
	uint64_t page = address & ~(uint64_t)(PAGE_BYTES - 1);
	uint64_t last = address + bytes - 1;

	if (address == 0 || last < address)
		return 0;
	for (; page <= last; page += PAGE_BYTES) {
		int r = find_mapping(c, page) ? keep_page(c, page, reason) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* what is pushed on, not what may lie above an empty stack */
static const struct mapping *stack_mapping(const struct collector *c, uint64_t sp)
{
	return sp > 0 ? find_mapping(c, sp - 1) : NULL;
}

static int keep_stack(struct collector *c, uint64_t sp)
{
	const struct mapping *mapping = stack_mapping(c, sp);
	uint64_t page, end;

	if (!mapping)
		return 0;
	page = (sp - RED_ZONE_BYTES) & ~(uint64_t)(PAGE_BYTES - 1);
	end = page + (uint64_t)STACK_PAGES * PAGE_BYTES;
	if (page < mapping->start || page > sp)
		page = mapping->start;
	if (end > mapping->end)
		end = mapping->end;
	return page < end ? keep_bytes(c, page, end - page, KEPT_STACK) : 0;
}

static int keep_rseq(struct collector *c, pid_t tid)
{
	struct __ptrace_rseq_configuration rseq = {0};
	uint64_t bytes;

	/* an old kernel that cannot tell has no rseq area that a libc would use either */
	if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, (void *)sizeof(rseq), &rseq) <= 0)
		return 0;
	bytes = rseq.rseq_abi_size > RSEQ_BYTES_MIN ? rseq.rseq_abi_size : RSEQ_BYTES_MIN;
	return keep_bytes(c, rseq.rseq_abi_pointer, bytes, KEPT_THREAD);
}

static int keep_robust_list(struct collector *c, pid_t tid)
{
	uint64_t head = 0;
	size_t bytes = 0;

	if (syscall(SYS_get_robust_list, tid, &head, &bytes) < 0)
		return 0;
	return keep_bytes(c, head, ROBUST_BYTES, KEPT_THREAD);
}

/* 0: nowhere */
static uint64_t find_scratch(const struct collector *c, uint64_t sp)
{
	const struct mapping *mapping = stack_mapping(c, sp);

	return mapping && mapping->private_writable ? scratch_place(mapping->start, sp) : 0;
}

/* 0 and *ret, which is 0 where the kernel does not tell it; negative errno: the thread is lost */
static int ask_clear_tid(struct injector *injector, uint64_t scratch, uint64_t *ret,
			 struct snap_error *err)
{
	int64_t value;
	int r = scratch_ask(injector, scratch, SYS_prctl, PR_GET_TID_ADDRESS, &value, ret, err);

	if (r == 0 && value != 0)
		*ret = 0;
	return r;
}

/* scratch 0: do not ask */
static int keep_clear_tid(struct collector *c, struct injector *injector, uint64_t scratch,
			  uint64_t tls)
{
	uint64_t at = 0;
	int r = scratch ? ask_clear_tid(injector, scratch, &at, c->err) : 0;

	if (r < 0)
		return r;
	r = at ? keep_bytes(c, at, CLEAR_TID_BYTES, KEPT_THREAD)
	       : keep_bytes(c, tls, PAGE_BYTES, KEPT_THREAD);
	return r < 0 ? snap_fail(c->err, SNAP_E_DUMP, -r, "cannot list the pages of thread %d",
				 (int)injector->tid)
		     : 0;
}

#ifdef __x86_64__
static void read_pointers(const struct injector *injector, uint64_t *ret_sp, uint64_t *ret_tls)
{
	*ret_sp = injector->saved.rsp;
	*ret_tls = injector->saved.fs_base;
}
#else
/* no injector attaches there */
static void read_pointers(const struct injector *injector, uint64_t *ret_sp, uint64_t *ret_tls)
{
	(void)injector;
	*ret_sp = 0;
	*ret_tls = 0;
}
#endif

static int keep_of_attached(struct collector *c, struct injector *injector, bool may_call)
{
	pid_t tid = injector->tid;
	uint64_t sp, tls;
	int r;

	read_pointers(injector, &sp, &tls);
	r = keep_stack(c, sp);
	/* the variables end below the thread pointer, the libc's own begins at it */
	if (r == 0 && tls > 0)
		r = keep_bytes(c, tls - 1, 2, KEPT_THREAD);
	if (r == 0)
		r = keep_rseq(c, tid);
	if (r == 0)
		r = keep_robust_list(c, tid);
	if (r < 0)
		return snap_fail(c->err, SNAP_E_DUMP, -r, "cannot list the pages of thread %d",
				 (int)tid);
	r = keep_clear_tid(c, injector, may_call ? find_scratch(c, sp) : 0, tls);
	c->syscall_at = injector->syscall_at;
	if (r == 0 && injector->changed)
		return steps_fault("injected", c->err);
	/* others will change this one too */
	if (r == 0 && c->note && c->note(injector, c->note_arg) != 0)
		return snap_fail_plain(c->err, SNAP_E_INTERNAL, EIO,
				       "cannot note the registers of thread %d", (int)tid);
	return r;
}

static int look_at_thread(pid_t tid, void *arg)
{
	struct collector *c = arg;
	struct injector_options options = {
		.syscall_at = c->syscall_at, .note = c->note, .note_arg = c->note_arg};
	bool is_filtered;
	struct injector injector;
	struct proc_stat stat;
	int r = procfs_stat(tid, &stat), detached;

	if (r < 0)
		return snap_fail(c->err, SNAP_E_DUMP, ESRCH, "thread %d is gone", (int)tid);
	if (stat.state == 'Z' || stat.state == 'X')
		return 0;
	if (stat.state != 'T')
		return snap_fail_plain(c->err, SNAP_E_INTERNAL, EBUSY,
				       "thread %d is not stopped but in state %c", (int)tid,
				       stat.state);
	r = injector_attach_past_filters(tid, &options, &injector, &is_filtered, c->err);
	if (r == 0)
		r = keep_of_attached(c, &injector, !is_filtered);
	detached = injector_detach(&injector);
	if (r == 0 && detached < 0)
		r = snap_fail(c->err, SNAP_E_DUMP, -detached, "cannot let thread %d go", (int)tid);
	return r;
}

static int by_address(const void *a, const void *b)
{
	const struct kept_page *x = a, *y = b;

	return (x->address > y->address) - (x->address < y->address);
}

static void sort_once_each(struct kept_pages *kept)
{
	size_t n = 0;

	if (kept->n > 0)
		qsort(kept->pages, kept->n, sizeof(*kept->pages), by_address);
	for (size_t i = 0; i < kept->n; i++) {
		if (n > 0 && kept->pages[n - 1].address == kept->pages[i].address)
			kept->pages[n - 1].reason |= kept->pages[i].reason;
		else
			kept->pages[n++] = kept->pages[i];
	}
	kept->n = n;
}

int kept_pages_collect(pid_t pid, injector_note_fn note, void *note_arg, struct kept_pages *ret,
		       struct snap_error *err)
{
	struct snap_error own = {0};
	snap_cleanup(collector_done) struct collector c = {
		.err = err ? err : &own, .note = note, .note_arg = note_arg};
	int r = read_mappings(&c, pid);

	if (r < 0)
		return snap_fail(err, SNAP_E_DUMP, -r, "cannot read the mappings of process %d",
				 (int)pid);
	c.err->msg[0] = '\0';
	r = threads_each(pid, look_at_thread, &c);
	if (r < 0 && c.err->msg[0] == '\0')
		return snap_fail(err, SNAP_E_DUMP, -r, "cannot list the threads of process %d",
				 (int)pid);
	if (r < 0)
		return r;
	*c.err = (struct snap_error){0}; /* of an attempt that had another way */
	sort_once_each(&c.kept);
	*ret = c.kept;
	c.kept = (struct kept_pages){0};
	return 0;
}

void kept_pages_done(struct kept_pages *kept)
{
	free(kept->pages);
	*kept = (struct kept_pages){0};
}

uint32_t kept_pages_reason(const struct kept_pages *kept, uint64_t address)
{
	uint64_t page = address & ~(uint64_t)(PAGE_BYTES - 1);
	size_t low = 0, high = kept->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (kept->pages[middle].address < page)
			low = middle + 1;
		else
			high = middle;
	}
	return low < kept->n && kept->pages[low].address == page ? kept->pages[low].reason : 0;
}
