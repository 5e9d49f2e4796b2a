/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/task/traces.h"

#include <dirent.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/procfs.h"
#include "snapshot/task/injector.h"
#include "snapshot/task/threads.h"

#include "tests/lib/test.h"
#include "tests/unit/task/victim.h"

#define THREADS_MAX 64
#define FDS_MAX	    1024
#define LINK_MAX    128

struct thread_trace {
	pid_t tid;
	char state;
	struct user_regs_struct registers;
	uint64_t mask;
	char *signals;
};

struct traces {
	char *maps;
	char fds[FDS_MAX][LINK_MAX]; /* by number */
	struct thread_trace threads[THREADS_MAX];
	size_t n_threads;
};

static int take_thread(pid_t tid, void *arg)
{
	struct traces *traces = arg;
	struct thread_trace *thread = &traces->threads[traces->n_threads++];
	struct injector injector;
	struct snap_error err = {0};
	struct proc_stat stat;

	assert_in_range(traces->n_threads, 1, THREADS_MAX);
	assert_int_equal(procfs_stat(tid, &stat), 0);
	thread->tid = tid;
	thread->state = stat.state;
	thread->signals = victim_signal_state(tid);
	if (injector_attach(tid, NULL, &injector, &err) != 0)
		fail_msg("%s", err.msg);
	thread->registers = injector.saved;
	thread->mask = injector.saved_mask;
	assert_int_equal(injector_detach(&injector), 0);
	return 0;
}

static void take_fds(pid_t pid, struct traces *traces)
{
	char path[64];
	struct dirent *entry;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		long fd = strtol(entry->d_name, NULL, 10);

		if (entry->d_name[0] == '.')
			continue;
		assert_in_range(fd, 0, FDS_MAX - 1);
		assert_true(readlinkat(dirfd(dir), entry->d_name, traces->fds[fd], LINK_MAX - 1) >
			    0);
	}
	(void)closedir(dir);
}

struct traces *traces_take(pid_t pid)
{
	struct traces *traces = calloc(1, sizeof(*traces));

	assert_non_null(traces);
	traces->maps = victim_maps(pid);
	take_fds(pid, traces);
	assert_int_equal(threads_each(pid, take_thread, traces), 0);
	return traces;
}

void traces_free(struct traces *traces)
{
	for (size_t i = 0; i < traces->n_threads; i++)
		free(traces->threads[i].signals);
	free(traces->maps);
	free(traces);
}

void traces_assert_equal(const struct traces *before, const struct traces *after)
{
	assert_string_equal(after->maps, before->maps);
	for (int i = 0; i < FDS_MAX; i++)
		assert_string_equal(after->fds[i], before->fds[i]);
	assert_int_equal(after->n_threads, before->n_threads);
	for (size_t i = 0; i < before->n_threads; i++) {
		const struct thread_trace *a = &before->threads[i], *b = &after->threads[i];

		assert_int_equal(b->tid, a->tid);
		assert_int_equal(b->state, a->state);
		assert_memory_equal(&b->registers, &a->registers, sizeof(a->registers));
		assert_int_equal(b->mask, a->mask);
		assert_string_equal(b->signals, a->signals);
	}
}

static int is_stopped(pid_t tid, void *arg)
{
	(void)arg;
	return victim_wait_state(tid, 'T') ? 0 : -ETIMEDOUT;
}

bool traces_wait_stopped(pid_t pid)
{
	return threads_each(pid, is_stopped, NULL) == 0;
}

bool traces_can_ring(void)
{
	struct io_uring_params params = {0};
	long fd = syscall(SYS_io_uring_setup, 1, &params);

	if (fd < 0)
		print_message("skipped: no io_uring here: %s\n", strerror(errno));
	else
		(void)close((int)fd);
	return fd >= 0;
}
