/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/procfs.h"
#include "snapshot/task/hold.h"
#include "snapshot/task/kept.h"
#include "snapshot/task/procmaps.h"
#include "snapshot/task/threads.h"

#include "tests/lib/test.h"
#include "tests/unit/task/victim.h"

#ifndef PR_GET_TID_ADDRESS
#	define PR_GET_TID_ADDRESS 40
#endif

#define PAGE		   4096UL
#define N_THREADS	   64
#define LOOKED_AT_MAX	   (16UL << 20) /* per mapping; beyond are those of a sanitizer */
#define ADDRESSES_A_THREAD 5

static void stop(const struct victim *victim)
{
	struct task_tree tree = {0};
	struct task_hold hold = {0};
	struct snap_error err = {0};

	if (task_hold_stop(victim->pid, deadline_after_ms(10000), &hold, &tree, &err) != 0)
		fail_msg("%s", err.msg);
	task_hold_done(&hold);
	task_tree_done(&tree);
}

static bool is_in_rseq(const struct victim *victim, uint64_t address)
{
	for (int i = 0; i < atomic_load(&victim->shared->n_rseqs); i++) {
		uint64_t at = atomic_load(&victim->shared->rseqs[i]);

		if (address >= at && address < at + 32)
			return true;
	}
	return false;
}

/* a number that another byte in the memory of the process would change */
static uint64_t digest_memory(const struct victim *victim)
{
	snap_cleanup_procmaps struct procmaps maps;
	snap_cleanup_close int fd = FD_NONE;
	uint64_t digest = 14695981039346656037U;
	struct proc_map map;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)victim->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(procmaps_open(&maps, victim->pid), 0);
	while (procmaps_next(&maps, &map) > 0) {
		size_t size = (size_t)(map.end - map.start);
		uint64_t *words;

		if (map.prot == PROT_NONE || size > LOOKED_AT_MAX ||
		    strcmp(map.path, "[vvar]") == 0 || map.shared)
			continue;
		words = malloc(size);
		assert_non_null(words);
		if (pread(fd, words, size, (off_t)map.start) == (ssize_t)size) {
			for (size_t i = 0; i < size / sizeof(*words); i++) {
				if (words[i] && !is_in_rseq(victim, map.start + i * 8))
					digest = (digest ^ words[i] ^ i) * 1099511628211U;
			}
		}
		free(words);
	}
	return digest;
}

static int assert_stopped(pid_t tid, void *arg)
{
	struct proc_stat stat;

	(void)arg;
	assert_int_equal(procfs_stat(tid, &stat), 0);
	assert_true(stat.state == 'T' || stat.state == 'Z');
	return 0;
}

/* collect, and nothing of the process is changed by it */
static void collect_unseen(const struct victim *victim, struct kept_pages *ret)
{
	char *maps = victim_maps(victim->pid), *maps_after;
	uint64_t digest = digest_memory(victim), start_ns;
	struct snap_error err = {0};

	start_ns = clock_now_ns();
	if (kept_pages_collect(victim->pid, NULL, NULL, ret, &err) != 0)
		fail_msg("%s", err.msg);
	print_message("%zu pages in %.1f ms\n", ret->n,
		      (double)(clock_now_ns() - start_ns) / (double)NS_PER_MS);
	assert_true(digest_memory(victim) == digest);
	maps_after = victim_maps(victim->pid);
	assert_string_equal(maps_after, maps);
	free(maps);
	free(maps_after);
	assert_int_equal(threads_each(victim->pid, assert_stopped, NULL), 0);
	for (size_t i = 1; i < ret->n; i++)
		assert_true(ret->pages[i - 1].address < ret->pages[i].address);
	for (size_t i = 0; i < ret->n; i++) {
		assert_int_equal(ret->pages[i].address % PAGE, 0);
		assert_true(ret->pages[i].reason != 0);
	}
}

static void assert_kept(const struct kept_pages *kept, uint64_t address, uint32_t reason)
{
	if ((kept_pages_reason(kept, address) & reason) != reason)
		fail_msg("%#llx is not kept for %u", (unsigned long long)address, reason);
}

/* where this thread has what the kernel writes to, into addresses[5 * n …] */
static void tell_addresses(struct victim *victim, size_t n)
{
	_Atomic uint64_t *at = &victim->shared->addresses[n * ADDRESSES_A_THREAD];
	uint64_t robust = 0, clear_tid = 0;
	size_t robust_bytes;

	(void)syscall(SYS_get_robust_list, 0, &robust, &robust_bytes);
	(void)prctl(PR_GET_TID_ADDRESS, &clear_tid, 0, 0, 0);
	atomic_store(&at[0], (uint64_t)(uintptr_t)__builtin_frame_address(0));
	atomic_store(&at[1], (uint64_t)pthread_self()); /* the thread pointer, with glibc */
	atomic_store(&at[2], robust);
	atomic_store(&at[3], clear_tid);
	if (__rseq_size > 0)
		atomic_store(&at[4],
			     (uint64_t)__builtin_thread_pointer() + (uint64_t)__rseq_offset);
}

static void assert_addresses_kept(const struct victim *victim, const struct kept_pages *kept,
				  size_t n)
{
	const _Atomic uint64_t *at = &victim->shared->addresses[n * ADDRESSES_A_THREAD];

	assert_kept(kept, atomic_load(&at[0]), KEPT_STACK);
	assert_kept(kept, atomic_load(&at[1]), KEPT_THREAD);
	assert_kept(kept, atomic_load(&at[1]) - 1, KEPT_THREAD);
	assert_kept(kept, atomic_load(&at[2]), KEPT_THREAD);
	assert_kept(kept, atomic_load(&at[2]) + 23, KEPT_THREAD);
	assert_kept(kept, atomic_load(&at[3]), KEPT_THREAD);
	if (atomic_load(&at[4]) != 0)
		assert_kept(kept, atomic_load(&at[4]) + 31, KEPT_THREAD);
}

static atomic_int next_thread;

static void *thread_of_many(void *arg)
{
	struct victim *victim = arg;

	victim_tell_rseq(victim, 0);
	tell_addresses(victim, (size_t)atomic_fetch_add(&next_thread, 1));
	victim_ready(victim);
	for (;;)
		(void)pause();
	return NULL;
}

static void act_threads(struct victim *victim)
{
	pthread_attr_t attr;
	pthread_t thread;

	(void)pthread_attr_init(&attr);
	(void)pthread_attr_setstacksize(&attr, 128UL << 10);
	for (int i = 0; i < N_THREADS; i++)
		(void)pthread_create(&thread, &attr, thread_of_many, victim);
}

static void test_all_threads(void **state)
{
	struct kept_pages kept;
	struct victim victim;

	(void)state;
	victim_start(&victim, act_threads);
	assert_true(victim_wait(&victim.shared->ready, N_THREADS));
	for (int round = 0; round < 3; round++) {
		stop(&victim);
		collect_unseen(&victim, &kept);
		for (size_t n = 0; n < N_THREADS; n++)
			assert_addresses_kept(&victim, &kept, n);
		assert_true(kept.n <= N_THREADS * 9);
		assert_int_equal(kept_pages_reason(&kept, 0), 0);
		assert_int_equal(kept_pages_reason(&kept, UINT64_MAX), 0);
		kept_pages_done(&kept);
		kept_pages_done(&kept);
		assert_int_equal(task_hold_continue(victim.pid, NULL, NULL), 0);
	}
	victim_end(&victim);
}

/* n pages between two that nobody may touch */
static char *make_island(size_t n)
{
	char *at = mmap(NULL, (n + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || mprotect(at + PAGE, n * PAGE, PROT_READ | PROT_WRITE) < 0)
		_exit(1);
	return at + PAGE;
}

/* everything where no libc would put it */
static void *odd_thread(void *arg)
{
	struct victim *victim = arg;
	char *clear_tid = make_island(1), *robust = make_island(2), *rseq = make_island(1);
	char *own_rseq = (char *)__builtin_thread_pointer() + __rseq_offset;

	/* the list across two pages; empty means that it points at itself */
	robust += PAGE - 8;
	memcpy(robust, &(uintptr_t){(uintptr_t)robust}, sizeof(uintptr_t));
	(void)syscall(SYS_set_tid_address, clear_tid + 128);
	(void)syscall(SYS_set_robust_list, robust, 24UL);
	if (__rseq_size > 0 && syscall(SYS_rseq, own_rseq, 32, 1, RSEQ_SIG) == 0 &&
	    syscall(SYS_rseq, rseq + 64, 32, 0, RSEQ_SIG) == 0)
		atomic_store(&victim->shared->addresses[2], (uint64_t)(uintptr_t)rseq);
	victim_tell_rseq(victim, (uint64_t)(uintptr_t)rseq + 64);
	atomic_store(&victim->shared->addresses[0], (uint64_t)(uintptr_t)clear_tid);
	atomic_store(&victim->shared->addresses[1], (uint64_t)(uintptr_t)robust);
	victim_ready(victim);
	for (;;)
		(void)pause();
	return NULL;
}

static void act_odd(struct victim *victim)
{
	pthread_t thread;

	(void)pthread_create(&thread, NULL, odd_thread, victim);
}

static void test_unusual_places(void **state)
{
	struct kept_pages kept;
	struct victim victim;
	uint64_t robust;

	(void)state;
	victim_start(&victim, act_odd);
	stop(&victim);
	collect_unseen(&victim, &kept);
	assert_int_equal(kept_pages_reason(&kept, atomic_load(&victim.shared->addresses[0])),
			 KEPT_THREAD);
	robust = atomic_load(&victim.shared->addresses[1]);
	assert_int_equal(kept_pages_reason(&kept, robust), KEPT_THREAD);
	assert_int_equal(kept_pages_reason(&kept, robust + 23), KEPT_THREAD);
	assert_int_equal(robust / PAGE + 1, (robust + 23) / PAGE);
	if (atomic_load(&victim.shared->addresses[2]) != 0)
		assert_int_equal(
			kept_pages_reason(&kept, atomic_load(&victim.shared->addresses[2])),
			KEPT_THREAD);
	else
		print_message("no rseq here: not looked at\n");
	kept_pages_done(&kept);
	victim_end(&victim);
}

/*
 * Three threads whose sp is where a test wants it: 16 bytes above the start of its mapping, at the
 * very end of it, and in the middle of ten pages.
 */
struct placed {
	size_t pages;
	size_t sp; /* above the start */
	size_t first_kept;
	size_t n_kept;
};

static const struct placed placed[] = {
	{2, 16, 0, 2},
	{1, PAGE, 0, 1},
	{10, 4 * PAGE + 64, 3, 5},
	{10, 4 * PAGE + 128, 4, 5},
	{10, 8 * PAGE + 2048, 8, 2},
};

static int placed_thread(void *arg)
{
	register void *sp __asm__("rdi") = arg;

	/* pause() for ever, on no stack */
	__asm__ volatile("mov %0, %%rsp\n"
			 "1: mov $34, %%eax\n"
			 "syscall\n"
			 "jmp 1b\n"
			 :
			 : "r"(sp)
			 : "rax", "rcx", "r11", "memory");
	__builtin_unreachable();
}

static void act_placed(struct victim *victim)
{
	const int flags =
		CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;

	for (size_t i = 0; i < ARRAY_LEN(placed); i++) {
		char *first_stack = make_island(16), *island = make_island(placed[i].pages);
		int tid =
			clone(placed_thread, first_stack + 16 * PAGE, flags, island + placed[i].sp);

		if (tid < 0)
			_exit(1);
		atomic_store(&victim->shared->addresses[i], (uint64_t)(uintptr_t)island);
		atomic_store(&victim->shared->tids[i], tid);
	}
	victim_ready(victim);
}

static void test_stacks_are_clipped(void **state)
{
	struct kept_pages kept;
	struct victim victim;

	(void)state;
	victim_start(&victim, act_placed);
	for (size_t i = 0; i < ARRAY_LEN(placed); i++)
		assert_true(victim_wait_state(atomic_load(&victim.shared->tids[i]), 'S'));
	stop(&victim);
	collect_unseen(&victim, &kept);
	for (size_t i = 0; i < ARRAY_LEN(placed); i++) {
		uint64_t at = atomic_load(&victim.shared->addresses[i]) - PAGE;

		/* with the guards */
		for (size_t page = 0; page < placed[i].pages + 2; page++, at += PAGE) {
			bool wanted = page >= placed[i].first_kept + 1 &&
				      page < placed[i].first_kept + 1 + placed[i].n_kept;

			if (kept_pages_reason(&kept, at) != (wanted ? KEPT_STACK : 0U))
				fail_msg("stack %zu, page %zu", i, page);
		}
	}
	kept_pages_done(&kept);
	victim_end(&victim);
}

static uint32_t filter_answer; /* of the victim to be forked */

static void act_filtered(struct victim *victim)
{
	tell_addresses(victim, 0);
	victim_forbid(SYS_prctl, filter_answer);
	victim_ready(victim);
	for (;;) {
		atomic_fetch_add(&victim->shared->turns, 1);
		(void)usleep(1000);
	}
}

/* suspended where we may, and else nothing is asked that the filter could punish */
static void test_filtered_thread_survives(void **state)
{
	static const uint32_t answers[] = {SECCOMP_RET_ERRNO | EPERM, SECCOMP_RET_TRAP,
					   SECCOMP_RET_KILL_PROCESS};
	struct kept_pages kept;
	struct victim victim;
	uint64_t turns;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		filter_answer = answers[i];
		victim_start(&victim, act_filtered);
		stop(&victim);
		collect_unseen(&victim, &kept);
		assert_kept(&kept, atomic_load(&victim.shared->addresses[1]), KEPT_THREAD);
		assert_kept(&kept, atomic_load(&victim.shared->addresses[2]), KEPT_THREAD);
		assert_kept(&kept, atomic_load(&victim.shared->addresses[3]), KEPT_THREAD);
		kept_pages_done(&kept);
		turns = atomic_load(&victim.shared->turns);
		assert_int_equal(task_hold_continue(victim.pid, NULL, NULL), 0);
		(void)usleep(50000);
		assert_true(atomic_load(&victim.shared->turns) > turns);
		victim_end(&victim);
	}
}

static void act_nothing(struct victim *victim)
{
	victim_ready(victim);
}

static void test_running_process_is_refused(void **state)
{
	struct snap_error err = {0};
	struct kept_pages kept = {0};
	struct victim victim;

	(void)state;
	victim_start(&victim, act_nothing);
	assert_int_equal(kept_pages_collect(victim.pid, NULL, NULL, &kept, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "not stopped"));
	assert_null(kept.pages);
	victim_end(&victim);
	assert_int_equal(kept_pages_collect(victim.pid, NULL, NULL, &kept, NULL), -ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_threads),
		cmocka_unit_test(test_unusual_places),
		cmocka_unit_test(test_stacks_are_clipped),
		cmocka_unit_test(test_filtered_thread_survives),
		cmocka_unit_test(test_running_process_is_refused),
	};

	if (!victim_can_trace())
		return 77;
	return cmocka_run_group_tests_name("kept", tests, NULL, NULL);
}
