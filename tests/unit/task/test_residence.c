/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snapshot/task/residence.h"

#include "tests/lib/test.h"

#define MIB   ((size_t)1 << 20)
#define OWN   (8 * MIB) /* of a process that does nothing */
#define HEAP  (32 * MIB)
#define SHARE (16 * MIB)

static void *make(size_t size, int flags)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (p != MAP_FAILED)
		memset(p, 7, size);
	return p;
}

/* a root with memory of both kinds, and a child that has the same pages */
static void __attribute__((noreturn)) be_family(int ready_fd)
{
	unsigned char *shared;
	pid_t child;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (make(HEAP, MAP_PRIVATE) == MAP_FAILED)
		_exit(1);
	shared = make(SHARE, MAP_SHARED);
	if (shared == MAP_FAILED)
		_exit(1);
	child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (size_t at = 0; at < SHARE; at += 4096)
			shared[at] = 8;
		(void)!write(ready_fd, "r", 1);
	}
	for (;;)
		(void)pause();
}

static void test_what_two_processes_share_counts_once(void **state)
{
	struct task_tree tree;
	uint64_t bytes;
	int ready[2];
	char byte;
	pid_t root;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	root = fork();
	if (root == 0)
		be_family(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(task_tree_collect(root, &tree, NULL), 0);
	assert_int_equal(tree.n_processes, 2);
	bytes = residence_bytes(&tree);
	assert_in_range(bytes, HEAP + SHARE, HEAP + SHARE + 2 * OWN);
	assert_true(tree.resident_bytes >= 2 * (uint64_t)(HEAP + SHARE) - OWN);
	task_tree_done(&tree);
	(void)kill(root, SIGKILL);
	(void)waitpid(root, NULL, 0);
	(void)close(ready[0]);
	(void)close(ready[1]);
}

static void test_all_that_is_resident_where_the_kernel_does_not_tell(void **state)
{
	struct tree_process gone = {.pid = 0x7ffffff0};
	const struct task_tree tree = {
		.processes = &gone, .n_processes = 1, .resident_bytes = 4711 * MIB};

	(void)state;
	assert_int_equal(residence_bytes(&tree), 4711 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_two_processes_share_counts_once),
		cmocka_unit_test(test_all_that_is_resident_where_the_kernel_does_not_tell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
