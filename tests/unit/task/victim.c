/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/task/victim.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/procfs.h"

#include "tests/lib/test.h"

#define WAIT_MS 10000U

void victim_ready(struct victim *victim)
{
	atomic_fetch_add(&victim->shared->ready, 1);
}

void victim_tell_rseq(struct victim *victim, uint64_t at)
{
	int n = atomic_fetch_add(&victim->shared->n_rseqs, 1);

	if (at == 0)
		at = (uint64_t)(uintptr_t)__builtin_thread_pointer() + (uint64_t)__rseq_offset;
	atomic_store(&victim->shared->rseqs[n], at);
}

void victim_start(struct victim *victim, void (*act)(struct victim *victim))
{
	*victim = (struct victim){0};
	assert_int_equal(pipe(victim->pipe), 0);
	victim->shared = mmap(NULL, sizeof(*victim->shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(victim->shared, MAP_FAILED);
	victim->pid = fork();
	assert_true(victim->pid >= 0);
	if (victim->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setsid();
		victim->pid = getpid();
		victim_tell_rseq(victim, 0);
		act(victim);
		for (;;)
			(void)pause();
	}
	assert_true(victim_wait(&victim->shared->ready, 1));
}

void victim_end(struct victim *victim)
{
	(void)kill(-victim->pid, SIGKILL);
	(void)kill(victim->pid, SIGKILL);
	(void)waitpid(victim->pid, NULL, 0);
	(void)close(victim->pipe[0]);
	(void)close(victim->pipe[1]);
	(void)munmap(victim->shared, sizeof(*victim->shared));
}

bool victim_wait(const atomic_int *flag, int at_least)
{
	uint64_t deadline_ns = deadline_after_ms(WAIT_MS);

	while (atomic_load(flag) < at_least) {
		if (clock_now_ns() >= deadline_ns)
			return false;
		(void)usleep(200);
	}
	return true;
}

bool victim_wait_state(pid_t tid, char state)
{
	uint64_t deadline_ns = deadline_after_ms(WAIT_MS);
	struct proc_stat stat;

	while (procfs_stat(tid, &stat) == 0 && clock_now_ns() < deadline_ns) {
		if (stat.state == state)
			return true;
		(void)usleep(200);
	}
	return false;
}

static char *read_lines(pid_t pid, const char *name, const char *starts_with)
{
	char path[48], line[8192], *text = NULL;
	size_t size = 0;
	FILE *in, *out;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	in = fopen(path, "re");
	assert_non_null(in);
	out = open_memstream(&text, &size);
	assert_non_null(out);
	while (fgets(line, sizeof(line), in)) {
		/* SigQ counts for the whole user */
		if (strncmp(line, starts_with, strlen(starts_with)) == 0 &&
		    strncmp(line, "SigQ:", 5) != 0)
			assert_true(fputs(line, out) >= 0);
	}
	(void)fclose(in);
	(void)fclose(out);
	return text;
}

char *victim_maps(pid_t pid)
{
	return read_lines(pid, "maps", "");
}

char *victim_signal_state(pid_t tid)
{
	return read_lines(tid, "status", "Sig");
}

bool victim_can_trace(void)
{
	pid_t pid = fork();
	bool can;
	int r;

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)pause();
		_exit(0);
	}
	r = ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0 ? errno : 0;
	can = r == 0;
	if (!can)
		print_message("skipped: no ptrace here: %s\n", strerror(r));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, __WALL);
	return can;
}

static void *run_idle_thread(void *arg)
{
	victim_ready(arg);
	for (;;)
		(void)pause();
	return NULL;
}

void victim_idle_threads(struct victim *victim, int n_threads)
{
	pthread_t thread;

	for (int i = 0; i < n_threads - 1; i++)
		(void)pthread_create(&thread, NULL, run_idle_thread, victim);
	victim_ready(victim);
}

void victim_forbid(uint32_t call, uint32_t answer)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, answer),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {ARRAY_LEN(code), code};

	(void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		_exit(99);
}
