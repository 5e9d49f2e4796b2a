/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/task/tree.h"

#include "tests/lib/test.h"

#define snap_cleanup_tree snap_cleanup(task_tree_done)

struct family {
	int ready[2]; /* one byte when the root is as wanted */
	pid_t root;
};

static void say_ready(const struct family *family)
{
	(void)!write(family->ready[1], "r", 1);
}

/* a child in its own session runs `act` and waits to be killed */
static void family_start(struct family *family, void (*act)(struct family *family))
{
	char byte;

	assert_int_equal(pipe(family->ready), 0);
	family->root = fork();
	assert_true(family->root >= 0);
	if (family->root == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setsid();
		act(family);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(family->ready[0], &byte, 1), 1);
}

/* the children lose their parent with the root: they watch the pipe and end by themselves */
static void family_end(struct family *family)
{
	(void)kill(-family->root, SIGKILL);
	(void)kill(family->root, SIGKILL);
	(void)waitpid(family->root, NULL, 0);
	(void)close(family->ready[0]);
	(void)close(family->ready[1]);
}

static bool has_id(const struct task_tree *tree, pid_t id)
{
	for (size_t i = 0; i < tree->n_ids; i++) {
		if (tree->ids[i] == id)
			return true;
	}
	return false;
}

static void assert_ids_sorted_once(const struct task_tree *tree)
{
	for (size_t i = 0; i < tree->n_ids; i++) {
		assert_true(tree->ids[i] > 0);
		assert_true(i == 0 || tree->ids[i - 1] < tree->ids[i]);
	}
}

static void act_alone(struct family *family)
{
	say_ready(family);
}

static void test_single_process_is_its_own_tree(void **state)
{
	snap_cleanup_tree struct task_tree tree = {0};
	struct snap_error err = {0};
	struct family family;

	(void)state;
	family_start(&family, act_alone);
	assert_int_equal(task_tree_collect(family.root, &tree, &err), 0);
	assert_int_equal(tree.n_processes, 1);
	assert_int_equal(tree.processes[0].pid, family.root);
	assert_int_equal(tree.processes[0].ppid, getpid());
	assert_int_equal(tree.processes[0].session, family.root);
	assert_string_equal(tree.processes[0].comm, "test_tree");
	assert_false(tree.processes[0].zombie);
	assert_int_equal(tree.n_ids, 1);
	assert_true(tree.resident_bytes > 0);
	assert_false(tree.has_seccomp_filter);
	assert_true(task_tree_has(&tree, family.root));
	assert_false(task_tree_has(&tree, getpid()));
	family_end(&family);
}

static void act_deep(struct family *family)
{
	/* root → child → grandchild, and a zombie beside the child */
	pid_t zombie = fork();

	if (zombie == 0)
		_exit(3);
	(void)waitid(P_PID, (id_t)zombie, NULL, WEXITED | WNOWAIT);
	if (fork() == 0) {
		if (fork() == 0) {
			(void)setpgid(0, 0);
			(void)prctl(PR_SET_NAME, "odd) (name");
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			say_ready(family);
		}
		(void)pause();
		_exit(0);
	}
}

static void test_descendants_and_zombies_belong_to_the_tree(void **state)
{
	snap_cleanup_tree struct task_tree tree = {0};
	struct snap_error err = {0};
	int zombies = 0, odd = 0;
	struct family family;

	(void)state;
	family_start(&family, act_deep);
	assert_int_equal(task_tree_collect(family.root, &tree, &err), 0);
	assert_int_equal(tree.n_processes, 4);
	assert_int_equal(tree.processes[0].pid, family.root);
	for (size_t i = 0; i < tree.n_processes; i++) {
		const struct tree_process *process = &tree.processes[i];

		zombies += process->zombie;
		assert_true(has_id(&tree, process->pid));
		assert_true(has_id(&tree, process->pgrp));
		assert_true(has_id(&tree, process->session));
		assert_int_equal(process->session, family.root);
		assert_true(i == 0 || task_tree_has(&tree, process->ppid));
		if (strcmp(process->comm, "odd) (name") == 0) {
			assert_int_equal(process->pgrp, process->pid);
			odd++;
		}
	}
	assert_int_equal(zombies, 1);
	assert_int_equal(odd, 1);
	assert_ids_sorted_once(&tree);
	family_end(&family);
}

static void *thread_main(void *arg)
{
	say_ready(arg);
	for (;;)
		(void)pause();
	return NULL;
}

static void act_threads(struct family *family)
{
	pthread_t thread;

	for (int i = 0; i < 5; i++)
		(void)pthread_create(&thread, NULL, thread_main, family);
}

static void test_threads_count_as_ids(void **state)
{
	snap_cleanup_tree struct task_tree tree = {0};
	struct snap_error err = {0};
	struct family family;
	char byte;

	(void)state;
	family_start(&family, act_threads);
	for (int i = 1; i < 5; i++)
		assert_int_equal(read(family.ready[0], &byte, 1), 1);
	assert_int_equal(task_tree_collect(family.root, &tree, &err), 0);
	assert_int_equal(tree.n_processes, 1);
	assert_int_equal(tree.n_ids, 6);
	assert_ids_sorted_once(&tree);
	family_end(&family);
}

static void *filtered_thread(void *arg)
{
	struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
	struct sock_fprog program = {1, &allow};

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	(void)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
	return thread_main(arg);
}

static void act_filtered_thread(struct family *family)
{
	pthread_t thread;

	(void)pthread_create(&thread, NULL, filtered_thread, family);
}

static void test_filter_of_any_thread_is_seen(void **state)
{
	snap_cleanup_tree struct task_tree tree = {0};
	struct snap_error err = {0};
	struct family family;

	(void)state;
	family_start(&family, act_filtered_thread);
	assert_int_equal(task_tree_collect(family.root, &tree, &err), 0);
	assert_true(tree.has_seccomp_filter);
	family_end(&family);
}

static void act_memory(struct family *family)
{
	size_t size = 64U << 20;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at != MAP_FAILED)
		memset(at, 1, size);
	say_ready(family);
}

static void test_resident_memory_is_summed(void **state)
{
	snap_cleanup_tree struct task_tree tree = {0};
	struct snap_error err = {0};
	struct family family;

	(void)state;
	family_start(&family, act_memory);
	assert_int_equal(task_tree_collect(family.root, &tree, &err), 0);
	assert_true(tree.resident_bytes >= 64U << 20);
	assert_true(tree.resident_bytes < 128U << 20);
	family_end(&family);
}

static void test_missing_root_is_told(void **state)
{
	struct task_tree tree = {0};
	struct snap_error err = {0};
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(task_tree_collect(pid, &tree, &err), -ESRCH);
	assert_non_null(strstr(err.msg, "is gone"));
	assert_null(tree.processes);
	task_tree_done(&tree);
	task_tree_done(&tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single_process_is_its_own_tree),
		cmocka_unit_test(test_descendants_and_zombies_belong_to_the_tree),
		cmocka_unit_test(test_threads_count_as_ids),
		cmocka_unit_test(test_filter_of_any_thread_is_seen),
		cmocka_unit_test(test_resident_memory_is_summed),
		cmocka_unit_test(test_missing_root_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
