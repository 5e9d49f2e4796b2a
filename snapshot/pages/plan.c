/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/pages/object.h"
#include "snapshot/task/kept.h"
#include "snapshot/task/mappings.h"
#include "snapshot/task/pagemap.h"

#define WINDOW_PAGES 16384U /* of pagemap, read at once: 64 MiB of memory */
#define RUNS_MAX     (1U << 24)

struct planner {
	struct pages_plan *plan;
	const struct tree_process *process;
	int pagemap_fd;
	int mem_fd; /* /proc/PID/mem */
	injector_note_fn note;
	void *note_arg;
	bool check_cow; /* there is somebody in the tree to share pages with */
	uint32_t space;
	struct kept_pages kept;
	uint64_t *entries;
	/* the mapping at hand */
	const struct mapping *mapping;
	struct page_region region;
	struct pages_run run; /* bytes 0: none is open */
	uint64_t drop_from;
	bool drop_holds; /* some page of ours */
};

static int grow(void **items, size_t n, size_t item_bytes)
{
	void *bigger;

	/* room doubles at powers of two */
	if (n != 0 && (n & (n - 1)) != 0)
		return 0;
	if (n >= RUNS_MAX)
		return -ENOMEM;
	bigger = reallocarray(*items, n ? n * 2 : 1, item_bytes);
	if (!bigger)
		return -ENOMEM;
	*items = bigger;
	return 0;
}

int pages_plan_add_run(struct pages_plan *plan, const struct pages_run *run)
{
	void *items = plan->runs;
	int r = grow(&items, plan->n_runs, sizeof(*run));

	plan->runs = items;
	if (r < 0)
		return r;
	plan->runs[plan->n_runs++] = *run;
	plan->bytes += run->bytes;
	return 0;
}

int pages_plan_add_drop(struct pages_plan *plan, const struct pages_drop *drop)
{
	void *items = plan->drops;
	int r = grow(&items, plan->n_drops, sizeof(*drop));

	plan->drops = items;
	if (r < 0)
		return r;
	plan->drops[plan->n_drops++] = *drop;
	return 0;
}

static bool starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* reasons to leave a whole mapping with CRIU */
static uint32_t kept_whole(const struct mapping *mapping)
{
	static const char *const kinds[] = {"[vdso]", "[vvar",	   "[vsyscall]",
					    "/[aio]", "[uprobes]", "anon_inode:"};
	uint32_t reasons = 0;

	if (mapping->flags & MAPPING_GROWSDOWN)
		reasons |= PAGE_KEPT_STACK;
	if (mapping->flags & MAPPING_LOCKED)
		reasons |= PAGE_KEPT_LOCKED;
	if (mapping->flags & MAPPING_HUGETLB)
		reasons |= PAGE_KEPT_HUGETLB;
	if (mapping->flags & MAPPING_SPECIAL)
		reasons |= PAGE_KEPT_KIND;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		if (starts(mapping->path, kinds[i]))
			reasons |= PAGE_KEPT_KIND;
	}
	return reasons;
}

/*
 * Not by process_vm_readv: it pins what it reads, and since Linux 5.19 the kernel gives a process
 * a copy of its own of a page that is shared copy-on-write before it pins it (FAULT_FLAG_UNSHARE).
 * One look would take the sharing from the tree.
 */
static bool is_zero_page(int mem_fd, uint64_t address)
{
	static const unsigned char zeros[PAGE_BYTES];
	unsigned char page[PAGE_BYTES];

	return io_pread_full(mem_fd, page, sizeof(page), address) == (ssize_t)sizeof(page) &&
	       memcmp(page, zeros, sizeof(page)) == 0;
}

static int close_run(struct planner *p)
{
	int r = p->run.bytes > 0 ? pages_plan_add_run(p->plan, &p->run) : 0;

	p->run.bytes = 0;
	return r;
}

static int close_drop(struct planner *p, uint64_t end)
{
	struct pages_drop drop = {.space = p->space, .start = p->drop_from, .end = end};
	int r = p->drop_holds ? pages_plan_add_drop(p->plan, &drop) : 0;

	p->drop_holds = false;
	p->drop_from = end + PAGE_BYTES;
	return r;
}

static int extend_run(struct planner *p, uint64_t address)
{
	int r;

	p->drop_holds = true;
	if (p->run.bytes > 0 && p->run.address + p->run.bytes == address) {
		p->run.bytes += PAGE_BYTES;
		return 0;
	}
	r = close_run(p);
	p->run.address = address;
	p->run.bytes = PAGE_BYTES;
	return r;
}

static int keep_page(struct planner *p, uint64_t address, uint32_t reason)
{
	int r = close_run(p);

	p->region.kept |= reason;
	p->region.kept_bytes += PAGE_BYTES;
	return r == 0 ? close_drop(p, address) : r;
}

static uint32_t thread_reason(const struct planner *p, uint64_t address)
{
	uint32_t found = kept_pages_reason(&p->kept, address), reason = 0;

	if (found & KEPT_STACK)
		reason |= PAGE_KEPT_STACK;
	if (found & KEPT_THREAD)
		reason |= PAGE_KEPT_THREAD;
	return reason;
}

static int plan_page(struct planner *p, uint64_t address, uint64_t entry)
{
	uint32_t reason;

	if (!(entry & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED)) || (entry & PAGEMAP_FILE))
		return 0;
	reason = thread_reason(p, address);
	if (reason)
		return keep_page(p, address, reason);
	if (entry & PAGEMAP_SWAPPED)
		return keep_page(p, address, PAGE_KEPT_SWAPPED);
	if (!p->check_cow || (entry & PAGEMAP_EXCLUSIVE))
		return extend_run(p, address);
	/* the kernel's zero page, or one that is as good as it */
	if (p->mapping->inode == 0 && is_zero_page(p->mem_fd, address)) {
		p->region.zero_bytes += PAGE_BYTES;
		p->drop_holds = true;
		return 0;
	}
	return keep_page(p, address, PAGE_KEPT_COW);
}

static int plan_pages(struct planner *p, struct snap_error *err)
{
	const struct mapping *mapping = p->mapping;
	int r = 0;

	for (uint64_t at = mapping->start; r == 0 && at < mapping->end;) {
		size_t want = (mapping->end - at) / PAGE_BYTES;
		ssize_t n;

		if (want > WINDOW_PAGES)
			want = WINDOW_PAGES;
		n = pagemap_read(p->pagemap_fd, at, p->entries, want);
		if (n <= 0)
			return snap_fail(err, SNAP_E_DUMP, n < 0 ? (int)-n : EIO,
					 "cannot read pagemap of pid %d", (int)p->process->pid);
		for (ssize_t i = 0; r == 0 && i < n; i++)
			r = plan_page(p, at + (uint64_t)i * PAGE_BYTES, p->entries[i]);
		at += (uint64_t)n * PAGE_BYTES;
	}
	if (r == 0)
		r = close_run(p);
	if (r == 0)
		r = close_drop(p, mapping->end);
	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "cannot plan") : 0;
}

static void name_region(struct page_region *region, const char *path)
{
	size_t len = strlen(path), room = sizeof(region->name) - 1;

	if (len > room)
		path += len - room;
	memcpy(region->name, path, strlen(path));
}

/* private memory; shared memory is planned by object */
static int plan_mapping(struct planner *p, struct snap_error *err)
{
	const struct mapping *mapping = p->mapping;
	/* a private mapping of a file shares what it has not changed with the file */
	uint64_t own = mapping->inode == 0 ? mapping->resident_bytes : mapping->anonymous_bytes;
	int r = 0;

	if (mapping->shared || own == 0)
		return 0;
	p->region = (struct page_region){
		.start = mapping->start,
		.end = mapping->end,
		.pid = p->process->pid,
		.prot = (uint32_t)mapping->prot,
		.kept = kept_whole(mapping),
	};
	name_region(&p->region, mapping->path);
	p->run = (struct pages_run){
		.space = p->space,
		.region = (uint32_t)p->plan->map.n_regions,
		.flags = (mapping->prot & PROT_WRITE ? 0U : PAGES_RUN_READ_ONLY) |
			 (mapping->prot & PROT_READ ? 0U : PAGES_RUN_UNREADABLE) |
			 (mapping->inode == 0 ? 0U : PAGES_RUN_KEEP_ZEROS) |
			 (mapping->flags & MAPPING_NO_HUGE ? PAGES_RUN_NO_HUGE : 0U),
	};
	p->drop_from = mapping->start;
	p->drop_holds = false;
	if (p->region.kept)
		p->region.kept_bytes = own;
	else
		r = plan_pages(p, err);
	if (r == 0 && page_map_add_region(&p->plan->map, &p->region) < 0)
		r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "too many mappings");
	return r;
}

static int open_memory(struct planner *p, const struct page_space *space, struct snap_error *err)
{
	const char *name = "pagemap";
	int r = 0;

	p->pagemap_fd = r = pagemap_open(space->pid);
	if (r >= 0 && p->check_cow) {
		name = "memory";
		p->mem_fd = r = pages_space_open(space, O_RDONLY);
	}
	return r >= 0 ? 0
		      : snap_fail(err, SNAP_E_DUMP, -r, "cannot open %s of pid %d", name,
				  (int)space->pid);
}

static int plan_process(struct planner *p, struct snap_error *err)
{
	struct page_space space = {.kind = PAGE_SPACE_TASK, .pid = p->process->pid, .fd = -1};
	struct mappings mappings = {0};
	int r;

	p->space = (uint32_t)p->plan->map.n_spaces;
	if (page_map_add_space(&p->plan->map, &space) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "too many processes");
	r = open_memory(p, &space, err);
	if (r == 0)
		r = kept_pages_collect(space.pid, p->note, p->note_arg, &p->kept, err);
	if (r == 0)
		r = mappings_load(space.pid, &mappings, err);
	for (size_t i = 0; r == 0 && i < mappings.n; i++) {
		p->mapping = &mappings.items[i];
		r = plan_mapping(p, err);
	}
	mappings_done(&mappings);
	kept_pages_done(&p->kept);
	p->pagemap_fd = fd_close(p->pagemap_fd);
	p->mem_fd = fd_close(p->mem_fd);
	return r;
}

/* the whole tree stays with CRIU */
static void keep_all(struct pages_plan *plan)
{
	for (size_t i = 0; i < plan->n_runs; i++) {
		struct page_region *region = &plan->map.regions[plan->runs[i].region];

		region->kept |= PAGE_KEPT_SMALL;
		region->kept_bytes += plan->runs[i].bytes;
	}
	plan->n_runs = 0;
	plan->n_drops = 0;
	plan->bytes = 0;
}

int pages_plan_make(const struct task_tree *tree, injector_note_fn note, void *note_arg,
		    struct pages_plan *ret, struct snap_error *err)
{
	snap_cleanup_free uint64_t *entries = calloc(WINDOW_PAGES, sizeof(*entries));
	struct planner p = {.plan = ret,
			    .pagemap_fd = FD_NONE,
			    .mem_fd = FD_NONE,
			    .entries = entries,
			    .note = note,
			    .note_arg = note_arg};
	size_t alive = 0;
	int r = 0;

	*ret = (struct pages_plan){0};
	if (!entries)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	for (size_t i = 0; i < tree->n_processes; i++)
		alive += !tree->processes[i].zombie;
	p.check_cow = alive > 1;
	for (size_t i = 0; r == 0 && i < tree->n_processes; i++) {
		p.process = &tree->processes[i];
		if (!p.process->zombie)
			r = plan_process(&p, err);
	}
	if (r == 0)
		r = pages_plan_add_shared(tree, ret, err);
	if (r < 0)
		pages_plan_done(ret);
	else if (ret->bytes < PAGES_PLAN_MIN_BYTES)
		keep_all(ret);
	return r;
}

void pages_plan_done(struct pages_plan *plan)
{
	page_map_done(&plan->map);
	free(plan->runs);
	free(plan->drops);
	*plan = (struct pages_plan){0};
}
