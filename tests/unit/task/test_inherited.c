/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "snapshot/task/inherited.h"
#include "snapshot/task/mappings.h"

#include "tests/lib/test.h"
#include "tests/unit/task/traces.h"
#include "tests/unit/task/victim.h"

/* mappings that the victim has from this process, kept apart by pages that nobody maps */
enum {
	NONE_TO_RW,
	EXEC_TO_RW,
	LOCKED,
	LOCKED_PARTLY,
	SAME,
	TO_READ,
	SLOTS
};

#define PAGE_SIZE_ 4096UL
#define SLOT_BYTES (8 * PAGE_SIZE_)
#define RW	   (PROT_READ | PROT_WRITE)

static unsigned char *base;

static unsigned char *slot(int i)
{
	return base + (size_t)i * (SLOT_BYTES + PAGE_SIZE_);
}

static uint64_t address(int i)
{
	return (uint64_t)(uintptr_t)slot(i);
}

static int make_slots(void)
{
	base = mmap(NULL, SLOTS * (SLOT_BYTES + PAGE_SIZE_), RW, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0);
	if (base == MAP_FAILED)
		return -1;
	for (int i = 0; i < SLOTS; i++) {
		if (munmap(slot(i) + SLOT_BYTES, PAGE_SIZE_) < 0)
			return -1;
	}
	memset(slot(SAME), 1, SLOT_BYTES);
	return mprotect(slot(NONE_TO_RW), SLOT_BYTES, PROT_NONE) < 0 ||
			       mprotect(slot(EXEC_TO_RW), SLOT_BYTES, PROT_READ | PROT_EXEC) < 0
		       ? -1
		       : 0;
}

static void act_differ(struct victim *victim)
{
	if (mprotect(slot(NONE_TO_RW), SLOT_BYTES, RW) == 0 &&
	    mprotect(slot(EXEC_TO_RW), SLOT_BYTES, RW) == 0 &&
	    mlock2(slot(LOCKED), SLOT_BYTES, 0) == 0 &&
	    mlock2(slot(LOCKED_PARTLY), SLOT_BYTES, MLOCK_ONFAULT) == 0 &&
	    mprotect(slot(TO_READ), SLOT_BYTES, PROT_READ) == 0)
		victim_ready(victim);
}

/* as CRIU leaves it: everything as the parent has it */
static void act_same(struct victim *victim)
{
	victim_ready(victim);
}

static void stop(const struct victim *victim)
{
	assert_int_equal(kill(victim->pid, SIGSTOP), 0);
	assert_true(traces_wait_stopped(victim->pid));
}

static void assert_noted(const struct manifest_mapping *mapping, pid_t pid, int i,
			 enum manifest_lock lock)
{
	assert_int_equal(mapping->pid, pid);
	assert_true(mapping->start == address(i) && mapping->end == address(i) + SLOT_BYTES);
	assert_int_equal(mapping->prot, RW);
	assert_int_equal(mapping->lock, lock);
}

static void collect(struct victim *victim, struct manifest *m)
{
	struct tree_process processes[] = {{.pid = getpid()},
					   {.pid = victim->pid, .ppid = getpid()}};
	struct task_tree tree = {.processes = processes, .n_processes = 2};
	struct snap_error err = {0};

	manifest_init(m);
	if (inherited_collect(&tree, m, &err) != 0)
		fail_msg("%s", err.msg);
}

static void test_what_differs_is_noted(void **state)
{
	struct victim victim;
	struct manifest m;

	(void)state;
	victim_start(&victim, act_differ);
	stop(&victim);
	collect(&victim, &m);
	assert_int_equal(m.n_mappings, 4);
	assert_noted(&m.mappings[0], victim.pid, NONE_TO_RW, MANIFEST_LOCK_NONE);
	assert_noted(&m.mappings[1], victim.pid, EXEC_TO_RW, MANIFEST_LOCK_NONE);
	assert_noted(&m.mappings[2], victim.pid, LOCKED, MANIFEST_LOCK_WHOLE);
	assert_noted(&m.mappings[3], victim.pid, LOCKED_PARTLY, MANIFEST_LOCK_ON_FAULT);
	manifest_done(&m);
	victim_end(&victim);
}

static void test_nothing_is_noted_of_equal_processes(void **state)
{
	struct victim victim;
	struct manifest m;

	(void)state;
	victim_start(&victim, act_same);
	stop(&victim);
	collect(&victim, &m);
	assert_int_equal(m.n_mappings, 0);
	manifest_done(&m);
	victim_end(&victim);
}

/* the child of a child that has what its parent has, but not what the one above had */
static void test_a_line_of_equals_is_looked_through(void **state)
{
	struct victim child, grandchild;
	struct manifest m;

	(void)state;
	victim_start(&child, act_differ);
	victim_start(&grandchild, act_differ);
	stop(&child);
	stop(&grandchild);
	{
		struct tree_process processes[] = {{.pid = getpid()},
						   {.pid = child.pid, .ppid = getpid()},
						   {.pid = grandchild.pid, .ppid = child.pid}};
		struct task_tree tree = {.processes = processes, .n_processes = 3};

		manifest_init(&m);
		assert_int_equal(inherited_collect(&tree, &m, NULL), 0);
	}
	assert_int_equal(m.n_mappings, 8);
	manifest_done(&m);
	victim_end(&child);
	victim_end(&grandchild);
}

static struct mapping find(pid_t pid, int i)
{
	struct mapping found = {0};
	struct mappings mappings;

	assert_int_equal(mappings_load(pid, &mappings, NULL), 0);
	for (size_t k = 0; k < mappings.n; k++) {
		if (mappings.items[k].start == address(i))
			found = mappings.items[k];
	}
	mappings_done(&mappings);
	assert_true(found.end == address(i) + SLOT_BYTES);
	return found;
}

static void restore(struct manifest_mapping *mappings, size_t n, struct inherited_result *ret)
{
	struct manifest m = {.mappings = mappings, .n_mappings = n};
	struct snap_error err = {0};

	if (inherited_restore(&m, ret, &err) != 0)
		fail_msg("%s", err.msg);
}

static void test_protection_and_locks_come_back(void **state)
{
	struct inherited_result result;
	struct victim victim;
	struct mapping mapping;

	(void)state;
	victim_start(&victim, act_same);
	stop(&victim);
	{
		struct manifest_mapping mappings[] = {
			{victim.pid, address(NONE_TO_RW), address(NONE_TO_RW) + SLOT_BYTES, RW,
			 MANIFEST_LOCK_NONE},
			{victim.pid, address(LOCKED), address(LOCKED) + SLOT_BYTES, RW,
			 MANIFEST_LOCK_WHOLE},
			{victim.pid, address(LOCKED_PARTLY), address(LOCKED_PARTLY) + SLOT_BYTES,
			 PROT_NONE, MANIFEST_LOCK_ON_FAULT},
		};

		restore(mappings, 3, &result);
	}
	assert_int_equal(result.left, 0);
	assert_string_equal(result.why, "");
	assert_true(victim_wait_state(victim.pid, 'T'));
	assert_int_equal(find(victim.pid, NONE_TO_RW).prot, RW);
	mapping = find(victim.pid, LOCKED);
	assert_true(mapping.flags & MAPPING_LOCKED);
	assert_true(mapping.resident_bytes == SLOT_BYTES);
	mapping = find(victim.pid, LOCKED_PARTLY);
	assert_true(mapping.flags & MAPPING_LOCKED);
	assert_int_equal(mapping.prot, PROT_NONE);
	assert_true(mapping.resident_bytes == 0);
	victim_end(&victim);
}

/* and the rest is put right all the same */
static void test_what_is_refused_is_told(void **state)
{
	struct inherited_result result;
	struct victim victim;

	(void)state;
	victim_start(&victim, act_same);
	stop(&victim);
	{
		struct manifest_mapping mappings[] = {
			{1 << 22, address(SAME), address(SAME) + SLOT_BYTES, RW, 0},
			{victim.pid, address(NONE_TO_RW) + SLOT_BYTES, address(EXEC_TO_RW), RW, 0},
			{victim.pid, address(EXEC_TO_RW), address(EXEC_TO_RW) + SLOT_BYTES, RW, 0},
		};

		restore(mappings, 3, &result);
	}
	assert_int_equal(result.left, 2);
	assert_string_equal(result.why, "pid 4194304: cannot be traced: No such process");
	assert_int_equal(find(victim.pid, EXEC_TO_RW).prot, RW);
	victim_end(&victim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_differs_is_noted),
		cmocka_unit_test(test_nothing_is_noted_of_equal_processes),
		cmocka_unit_test(test_a_line_of_equals_is_looked_through),
		cmocka_unit_test(test_protection_and_locks_come_back),
		cmocka_unit_test(test_what_is_refused_is_told),
	};

	if (!victim_can_trace())
		return 77;
	if (make_slots() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
