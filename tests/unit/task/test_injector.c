/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/procfs.h"
#include "snapshot/task/injector.h"
#include "snapshot/task/procmaps.h"

#include "tests/lib/test.h"
#include "tests/unit/task/victim.h"

/* a sleep that began anew when looked at in its middle would last 1800 ms */
#define SLEEP_MS  1200U
#define MIDDLE_MS 600U
#define LATE_MS	  1700U

static const uint64_t no_args[6];

static void assert_pid_call(struct injector *injector, pid_t pid)
{
	struct snap_error err = {0};
	int64_t value = -1;

	if (injector_call(injector, SYS_getpid, no_args, &value, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(value, pid);
}

static void attach(pid_t tid, struct injector *ret)
{
	struct snap_error err = {0};

	if (injector_attach(tid, NULL, ret, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(ret->tid, tid);
}

/* three kinds of calls, and what they leave behind is as it was */
static void inject_unseen(pid_t tid, pid_t pid)
{
	struct injector injector;
	char *maps = victim_maps(pid), *signals = victim_signal_state(tid), *after;
	uint64_t args[6] = {0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    UINT64_MAX};
	int64_t at = 0, value = -1;
	struct proc_stat before;

	assert_int_equal(procfs_stat(tid, &before), 0);
	attach(tid, &injector);
	assert_pid_call(&injector, pid);
	assert_int_equal(injector_call(&injector, SYS_mmap, args, &at, NULL), 0);
	assert_true(at > 0);
	args[0] = (uint64_t)at;
	assert_int_equal(injector_call(&injector, SYS_munmap, args, &value, NULL), 0);
	assert_int_equal(value, 0);
	args[0] = 1 << 20;
	assert_int_equal(injector_call(&injector, SYS_close, args, &value, NULL), 0);
	assert_int_equal(value, -EBADF);
	assert_int_equal(injector_detach(&injector), 0);
	assert_int_equal(injector_detach(&injector), 0);
	/* a call under way shows its own signal mask when it has begun again */
	if (before.state == 'S')
		assert_true(victim_wait_state(tid, 'S'));

	after = victim_maps(pid);
	assert_string_equal(after, maps);
	free(after);
	after = victim_signal_state(tid);
	assert_string_equal(after, signals);
	free(after);
	free(maps);
	free(signals);
}

/* a foreign value in any register of the loop would be seen */
static void act_loop(struct victim *victim)
{
	uint64_t a = 1, b = 1;

	victim_ready(victim);
	for (;;) {
		a = a * 6364136223846793005U + 1442695040888963407U;
		b = b * 6364136223846793005U + 1442695040888963407U;
		__asm__ volatile("" : "+r"(a), "+r"(b)); /* two registers for the compiler */
		if (a != b)
			atomic_fetch_add(&victim->shared->faults, 1);
		atomic_fetch_add(&victim->shared->turns, 1);
	}
}

static void assert_loop_runs(const struct victim *victim)
{
	uint64_t turns = atomic_load(&victim->shared->turns);
	uint64_t deadline_ns = deadline_after_ms(10000);

	while (atomic_load(&victim->shared->turns) < turns + 100000 && clock_now_ns() < deadline_ns)
		(void)usleep(200);
	assert_true(atomic_load(&victim->shared->turns) >= turns + 100000);
	assert_int_equal(atomic_load(&victim->shared->faults), 0);
}

static void test_running_loop(void **state)
{
	struct victim victim;

	(void)state;
	victim_start(&victim, act_loop);
	for (int i = 0; i < 200; i++)
		inject_unseen(victim.pid, victim.pid);
	assert_loop_runs(&victim);
	victim_end(&victim);
}

/* ---- system calls that must go on as if nothing had been ---- */

struct sleeper {
	const char *name;
	int64_t (*call)(struct victim *victim);
	void (*release)(const struct victim *victim);
	int64_t result;
	uint64_t at_least_ms;
};

static int64_t call_read(struct victim *victim)
{
	char byte = 0;

	return read(victim->pipe[0], &byte, 1) == 1 && byte == 'x' ? 1 : -errno;
}

static void release_write(const struct victim *victim)
{
	assert_int_equal(write(victim->pipe[1], "x", 1), 1);
}

static int64_t call_nanosleep(struct victim *victim)
{
	struct timespec time = {.tv_sec = SLEEP_MS / 1000,
				.tv_nsec = (long)(SLEEP_MS % 1000 * NS_PER_MS)};

	(void)victim;
	return syscall(SYS_nanosleep, &time, NULL) == 0 ? 0 : -errno;
}

static int64_t call_clock_nanosleep(struct victim *victim)
{
	struct timespec time = {.tv_sec = SLEEP_MS / 1000,
				.tv_nsec = (long)(SLEEP_MS % 1000 * NS_PER_MS)};

	(void)victim;
	return -clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static int64_t call_futex(struct victim *victim)
{
	return syscall(SYS_futex, &victim->shared->go, FUTEX_WAIT, 0, NULL, NULL, 0) == 0 ? 0
											  : -errno;
}

static void release_futex(const struct victim *victim)
{
	assert_true(victim_wait_state(victim->pid, 'S'));
	atomic_store(&victim->shared->go, 1);
	assert_int_equal(syscall(SYS_futex, &victim->shared->go, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
}

static int64_t call_futex_timed(struct victim *victim)
{
	struct timespec time = {.tv_sec = SLEEP_MS / 1000,
				.tv_nsec = (long)(SLEEP_MS % 1000 * NS_PER_MS)};

	return syscall(SYS_futex, &victim->shared->go, FUTEX_WAIT, 0, &time, NULL, 0) == 0 ? 0
											   : -errno;
}

static int64_t call_epoll(struct victim *victim)
{
	struct epoll_event event = {.events = EPOLLIN};
	int fd = epoll_create1(EPOLL_CLOEXEC), n;

	(void)epoll_ctl(fd, EPOLL_CTL_ADD, victim->pipe[0], &event);
	/* an interrupted epoll_wait answers EINTR (signal(7)): a program has to call again */
	do {
		n = epoll_wait(fd, &event, 1, -1);
	} while (n < 0 && errno == EINTR);
	return n;
}

static int64_t call_sigsuspend(struct victim *victim)
{
	sigset_t set;

	(void)victim;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGUSR2);
	return sigsuspend(&set) == -1 && errno == EINTR ? 0 : -1;
}

static void on_signal(int sig)
{
	(void)sig;
}

static void release_signal(const struct victim *victim)
{
	assert_int_equal(kill(victim->pid, SIGUSR1), 0);
}

static const struct sleeper sleepers[] = {
	{"read", call_read, release_write, 1, 0},
	{"nanosleep", call_nanosleep, NULL, 0, SLEEP_MS},
	{"clock_nanosleep", call_clock_nanosleep, NULL, 0, SLEEP_MS},
	{"futex", call_futex, release_futex, 0, 0},
	{"futex with a timeout", call_futex_timed, NULL, -ETIMEDOUT, SLEEP_MS},
	{"epoll_wait", call_epoll, release_write, 1, 0},
	{"sigsuspend", call_sigsuspend, release_signal, 0, 0},
};

static const struct sleeper *sleeper; /* of the victim to be forked */

static void act_sleep(struct victim *victim)
{
	struct sigaction action = {.sa_handler = on_signal};
	uint64_t start_ns;
	sigset_t usr1;

	(void)sigaction(SIGUSR1, &action, NULL);
	(void)sigemptyset(&usr1);
	(void)sigaddset(&usr1, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &usr1, NULL);
	victim_ready(victim);
	start_ns = clock_now_ns();
	atomic_store(&victim->shared->result, sleeper->call(victim));
	atomic_store(&victim->shared->elapsed_ns, (int64_t)(clock_now_ns() - start_ns));
	victim_ready(victim);
}

static void run_sleeper(const struct sleeper *which, bool group_stop)
{
	struct injector injector, again;
	struct victim victim;
	int64_t elapsed_ms;

	print_message("%s%s\n", which->name, group_stop ? ", stopped" : "");
	sleeper = which;
	victim_start(&victim, act_sleep);
	assert_true(victim_wait_state(victim.pid, 'S'));
	if (which->at_least_ms)
		(void)usleep(MIDDLE_MS * 1000);
	if (group_stop) {
		assert_int_equal(kill(victim.pid, SIGSTOP), 0);
		assert_true(victim_wait_state(victim.pid, 'T'));
	}
	for (int i = 0; i < 3; i++) {
		attach(victim.pid, &injector);
		assert_pid_call(&injector, victim.pid);
		assert_int_equal(injector_detach(&injector), 0);
		if (!group_stop)
			assert_true(victim_wait_state(victim.pid, 'S'));
	}
	if (group_stop) {
		struct user_regs_struct before;
		struct proc_stat stat;

		attach(victim.pid, &injector);
		before = injector.saved;
		assert_pid_call(&injector, victim.pid);
		assert_int_equal(injector_detach(&injector), 0);
		assert_int_equal(procfs_stat(victim.pid, &stat), 0);
		assert_int_equal(stat.state, 'T');
		attach(victim.pid, &again);
		assert_memory_equal(&again.saved, &before, sizeof(before));
		assert_int_equal(injector_detach(&again), 0);
		inject_unseen(victim.pid, victim.pid);
		assert_int_equal(procfs_stat(victim.pid, &stat), 0);
		assert_int_equal(stat.state, 'T');
		assert_int_equal(kill(victim.pid, SIGCONT), 0);
		if (which->release)
			assert_true(victim_wait_state(victim.pid, 'S'));
	} else {
		inject_unseen(victim.pid, victim.pid);
	}
	assert_int_equal(atomic_load(&victim.shared->ready), 1);
	if (which->release)
		which->release(&victim);
	assert_true(victim_wait(&victim.shared->ready, 2));
	assert_int_equal(atomic_load(&victim.shared->result), which->result);
	elapsed_ms = atomic_load(&victim.shared->elapsed_ns) / (int64_t)NS_PER_MS;
	assert_true(elapsed_ms >= (int64_t)which->at_least_ms);
	if (which->at_least_ms)
		assert_true(elapsed_ms < (int64_t)LATE_MS);
	victim_end(&victim);
}

static void test_sleepers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sleepers); i++) {
		run_sleeper(&sleepers[i], false);
		run_sleeper(&sleepers[i], true);
	}
}

/* ---- signals ---- */

static struct victim_shared *handler_shared;

static void count_signal(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (sig == SIGRTMIN)
		atomic_store(&handler_shared->signal_value, info->si_value.sival_int);
	atomic_fetch_add(&handler_shared->signals, 1);
}

static void act_handlers(struct victim *victim)
{
	struct sigaction action = {.sa_sigaction = count_signal,
				   .sa_flags = SA_SIGINFO | SA_RESTART};

	handler_shared = victim->shared;
	(void)sigaction(SIGUSR1, &action, NULL);
	(void)sigaction(SIGRTMIN, &action, NULL);
	act_loop(victim);
}

static void test_signals_wait_for_the_end(void **state)
{
	union sigval value = {.sival_int = 4711};
	struct injector injector;
	struct victim victim;
	char *before, *after;

	(void)state;
	victim_start(&victim, act_handlers);
	before = victim_signal_state(victim.pid);
	for (int round = 1; round <= 50; round++) {
		attach(victim.pid, &injector);
		if (round % 2)
			assert_pid_call(&injector, victim.pid);
		assert_int_equal(kill(victim.pid, SIGUSR1), 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(sigqueue(victim.pid, SIGRTMIN, value), 0);
		assert_int_equal(kill(victim.pid, SIGCHLD), 0); /* ignored */
		for (int i = 0; i < 3; i++)
			assert_pid_call(&injector, victim.pid);
		assert_true(injector.mask_closed);
		assert_int_equal(atomic_load(&victim.shared->signals), 4 * (round - 1));
		assert_int_equal(injector_detach(&injector), 0);
		assert_true(victim_wait(&victim.shared->signals, 4 * round));
	}
	assert_int_equal(atomic_load(&victim.shared->signals), 4 * 50);
	assert_loop_runs(&victim);
	after = victim_signal_state(victim.pid);
	assert_string_equal(after, before);
	assert_int_equal(atomic_load(&victim.shared->signal_value), 4711);
	free(before);
	free(after);
	victim_end(&victim);
}

/* signals on the way while it is seized are delivered, none twice */
static void test_signals_at_any_moment(void **state)
{
	struct victim victim;
	pid_t sender;

	(void)state;
	victim_start(&victim, act_handlers);
	sender = fork();
	if (sender == 0) {
		union sigval value = {.sival_int = 1};

		while (!atomic_load(&victim.shared->go)) {
			if (sigqueue(victim.pid, SIGRTMIN, value) == 0)
				atomic_fetch_add(&victim.shared->finished, 1);
			(void)usleep(50);
		}
		_exit(0);
	}
	for (int i = 0; i < 300; i++) {
		struct injector injector;

		attach(victim.pid, &injector);
		assert_pid_call(&injector, victim.pid);
		assert_pid_call(&injector, victim.pid);
		assert_int_equal(injector_detach(&injector), 0);
	}
	atomic_store(&victim.shared->go, 1);
	assert_int_equal(waitpid(sender, NULL, 0), sender);
	assert_true(atomic_load(&victim.shared->finished) > 0);
	assert_true(victim_wait(&victim.shared->signals, atomic_load(&victim.shared->finished)));
	assert_int_equal(atomic_load(&victim.shared->signals),
			 atomic_load(&victim.shared->finished));
	assert_loop_runs(&victim);
	victim_end(&victim);
}

static void test_stop_and_continue_meanwhile(void **state)
{
	struct injector injector;
	struct proc_stat stat;
	struct victim victim;

	(void)state;
	victim_start(&victim, act_loop);
	attach(victim.pid, &injector);
	assert_int_equal(kill(victim.pid, SIGSTOP), 0);
	assert_pid_call(&injector, victim.pid);
	assert_pid_call(&injector, victim.pid);
	assert_int_equal(injector_detach(&injector), 0);
	assert_int_equal(procfs_stat(victim.pid, &stat), 0);
	assert_int_equal(stat.state, 'T');

	attach(victim.pid, &injector);
	assert_pid_call(&injector, victim.pid);
	assert_int_equal(kill(victim.pid, SIGCONT), 0);
	assert_pid_call(&injector, victim.pid);
	assert_int_equal(injector_detach(&injector), 0);
	assert_loop_runs(&victim);

	/* stopped without a call in between */
	attach(victim.pid, &injector);
	assert_int_equal(kill(victim.pid, SIGSTOP), 0);
	assert_int_equal(injector_detach(&injector), 0);
	assert_true(victim_wait_state(victim.pid, 'T'));
	victim_end(&victim);
}

static void act_trap_blocked(struct victim *victim)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigset_t all;

	(void)sigaction(SIGTRAP, &action, NULL);
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, NULL);
	act_loop(victim);
}

static void test_blocked_trap_stays_blocked(void **state)
{
	struct victim victim;

	(void)state;
	victim_start(&victim, act_trap_blocked);
	inject_unseen(victim.pid, victim.pid);
	assert_loop_runs(&victim);
	victim_end(&victim);
}

static void test_killed_thread_is_told(void **state)
{
	struct injector injector;
	struct snap_error err = {0};
	struct victim victim;
	int64_t value;
	int status;

	(void)state;
	for (int with_call = 0; with_call < 2; with_call++) {
		victim_start(&victim, act_loop);
		attach(victim.pid, &injector);
		if (with_call)
			assert_pid_call(&injector, victim.pid);
		assert_int_equal(kill(victim.pid, SIGKILL), 0);
		assert_int_equal(injector_call(&injector, SYS_getpid, no_args, &value, &err),
				 -ESRCH);
		assert_int_equal(injector_detach(&injector), -ESRCH);
		assert_int_equal(injector_detach(&injector), 0);
		assert_int_equal(waitpid(victim.pid, &status, 0), victim.pid);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(injector_attach(victim.pid, NULL, &injector, &err), -ESRCH);
		victim_end(&victim);
	}
}

/* the parent of a killed one gets its status although a tracer was in between */
static void act_parent_of_victim(struct victim *victim)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		act_loop(victim);
	atomic_store(&victim->shared->tids[0], pid);
	if (waitpid(pid, &status, 0) == pid && WIFSIGNALED(status))
		atomic_store(&victim->shared->finished, 1);
}

static void test_killed_one_is_left_to_its_parent(void **state)
{
	struct injector injector;
	struct victim victim;
	int64_t value;
	pid_t pid;

	(void)state;
	victim_start(&victim, act_parent_of_victim);
	assert_true(victim_wait(&victim.shared->tids[0], 1));
	pid = atomic_load(&victim.shared->tids[0]);
	attach(pid, &injector);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(injector_call(&injector, SYS_getpid, no_args, &value, NULL), -ESRCH);
	assert_int_equal(injector_detach(&injector), -ESRCH);
	assert_true(victim_wait(&victim.shared->finished, 1));
	victim_end(&victim);
}

/* ---- note and mend ---- */

static int refuse_note(const struct injector *injector, void *arg)
{
	(void)injector;
	++*(int *)arg;
	return -ENOSPC;
}

static int count_note(const struct injector *injector, void *arg)
{
	(void)refuse_note(injector, arg);
	return 0;
}

static void test_note_comes_first_and_may_refuse(void **state)
{
	int n = 0;
	struct injector_options options = {.note = count_note, .note_arg = &n};
	struct snap_error err = {0};
	struct injector injector;
	struct victim victim;
	int64_t value;

	(void)state;
	victim_start(&victim, act_loop);
	assert_int_equal(injector_attach(victim.pid, &options, &injector, &err), 0);
	assert_int_equal(n, 0);
	assert_pid_call(&injector, victim.pid);
	assert_pid_call(&injector, victim.pid);
	assert_int_equal(n, 1);
	assert_int_equal(injector_detach(&injector), 0);

	options.note = refuse_note;
	assert_int_equal(injector_attach(victim.pid, &options, &injector, &err), 0);
	assert_int_equal(injector_call(&injector, SYS_getpid, no_args, &value, &err), -ENOSPC);
	assert_false(injector.changed);
	assert_int_equal(injector_detach(&injector), 0);
	assert_loop_runs(&victim);
	victim_end(&victim);
}

enum death {
	DEATH_IN_NOTE,
	DEATH_BETWEEN_CALLS,
	DEATH_IN_CALL,
	DEATH_MAX_
};

struct journal {
	struct user_regs_struct saved;
	uint64_t saved_mask;
	atomic_int noted;
	enum death death;
};

static int note_in_journal(const struct injector *injector, void *arg)
{
	struct journal *journal = arg;

	journal->saved = injector->saved;
	journal->saved_mask = injector->saved_mask;
	atomic_store(&journal->noted, 1);
	if (journal->death == DEATH_IN_NOTE)
		(void)kill(getpid(), SIGKILL);
	return 0;
}

static _Noreturn void inject_and_die(const struct victim *victim, struct journal *journal)
{
	struct injector_options options = {.note = note_in_journal, .note_arg = journal};
	struct injector injector;
	int64_t value;

	if (injector_attach(victim->pid, &options, &injector, NULL) < 0)
		_exit(1);
	if (journal->death == DEATH_IN_CALL) {
		(void)injector_call(&injector, SYS_pause, no_args, &value, NULL);
		_exit(2);
	}
	(void)injector_call(&injector, SYS_getppid, no_args, &value, NULL);
	(void)kill(getpid(), SIGKILL);
	_exit(3);
}

static void die_and_mend(void (*act)(struct victim *victim), const struct sleeper *which,
			 enum death death)
{
	struct journal *journal = mmap(NULL, sizeof(*journal), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct snap_error err = {0};
	struct victim victim;
	struct proc_stat stat;
	pid_t tracer;
	int status;

	sleeper = which;
	victim_start(&victim, act);
	if (which)
		assert_true(victim_wait_state(victim.pid, 'S'));
	assert_int_equal(kill(victim.pid, SIGSTOP), 0);
	assert_true(victim_wait_state(victim.pid, 'T'));
	journal->death = death;
	tracer = fork();
	if (tracer == 0)
		inject_and_die(&victim, journal);
	if (death == DEATH_IN_CALL) {
		assert_true(victim_wait(&journal->noted, 1));
		assert_true(victim_wait_state(victim.pid, 'S')); /* in pause() */
		assert_int_equal(kill(tracer, SIGKILL), 0);
	}
	assert_int_equal(waitpid(tracer, &status, 0), tracer);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(atomic_load(&journal->noted), 1);
	assert_true(victim_wait_state(victim.pid, 'T'));

	if (injector_put_back(victim.pid, &journal->saved, journal->saved_mask, NULL, 0, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(procfs_stat(victim.pid, &stat), 0);
	assert_int_equal(stat.state, 'T');
	assert_int_equal(kill(victim.pid, SIGCONT), 0);
	if (which) {
		if (which->release) {
			assert_true(victim_wait_state(victim.pid, 'S'));
			which->release(&victim);
		}
		assert_true(victim_wait(&victim.shared->ready, 2));
		assert_int_equal(atomic_load(&victim.shared->result), which->result);
	} else {
		assert_loop_runs(&victim);
	}
	victim_end(&victim);
	(void)munmap(journal, sizeof(*journal));
}

static void test_death_of_the_tracer_is_mended(void **state)
{
	(void)state;
	for (int death = 0; death < DEATH_MAX_; death++) {
		die_and_mend(act_loop, NULL, (enum death)death);
		die_and_mend(act_sleep, &sleepers[0], (enum death)death);
		die_and_mend(act_sleep, &sleepers[1], (enum death)death);
		die_and_mend(act_sleep, &sleepers[3], (enum death)death);
	}
}

/* a signal had come too: the mask is noted and put back with the registers */
static void test_mask_is_mended_too(void **state)
{
	struct injector injector;
	struct victim victim;
	char *before, *after;

	(void)state;
	victim_start(&victim, act_handlers);
	before = victim_signal_state(victim.pid);
	assert_int_equal(kill(victim.pid, SIGSTOP), 0);
	assert_true(victim_wait_state(victim.pid, 'T'));
	attach(victim.pid, &injector);
	assert_int_equal(kill(victim.pid, SIGUSR1), 0);
	assert_pid_call(&injector, victim.pid);
	assert_true(injector.mask_closed);
	{
		struct user_regs_struct saved = injector.saved;
		uint64_t mask = injector.saved_mask;

		/* what the death of the tracer leaves: neither is put back */
		injector.mask_closed = false;
		injector.changed = false;
		injector.running = true;
		assert_int_equal(ptrace(PTRACE_CONT, victim.pid, NULL, NULL), 0);
		assert_int_equal(injector_detach(&injector), 0);
		assert_true(victim_wait_state(victim.pid, 'T'));
		assert_int_equal(injector_put_back(victim.pid, &saved, mask, NULL, 0, NULL), 0);
	}
	assert_int_equal(kill(victim.pid, SIGCONT), 0);
	assert_true(victim_wait(&victim.shared->signals, 1));
	assert_loop_runs(&victim);
	after = victim_signal_state(victim.pid);
	assert_string_equal(after, before);
	free(before);
	free(after);
	victim_end(&victim);
}

/* ---- odd threads ---- */

static void test_second_tracer_is_refused_by_name(void **state)
{
	struct injector first, second;
	struct snap_error err = {0};
	struct victim victim;

	(void)state;
	victim_start(&victim, act_loop);
	attach(victim.pid, &first);
	assert_int_equal(injector_attach(victim.pid, NULL, &second, &err), -EPERM);
	assert_non_null(strstr(err.msg, "traced by process"));
	assert_int_equal(injector_detach(&first), 0);
	victim_end(&victim);
}

static void act_without_vdso(struct victim *victim)
{
	snap_cleanup_procmaps struct procmaps maps;
	uint64_t start = 0, end = 0;
	struct proc_map map;

	(void)procmaps_open(&maps, getpid());
	while (procmaps_next(&maps, &map) > 0) {
		if (strcmp(map.path, "[vdso]") == 0) {
			start = map.start;
			end = map.end;
		}
	}
	(void)munmap((void *)start, end - start); /* NOLINT(performance-no-int-to-ptr) */
	victim_ready(victim);
	for (;;)
		(void)pause();
}

static void test_without_vdso(void **state)
{
	struct victim victim;
	char *maps;

	(void)state;
	victim_start(&victim, act_without_vdso);
	maps = victim_maps(victim.pid);
	assert_null(strstr(maps, "[vdso]"));
	free(maps);
	inject_unseen(victim.pid, victim.pid);
	victim_end(&victim);
}

static void act_filtered(struct victim *victim)
{
	victim_forbid(SYS_getpid, SECCOMP_RET_TRAP);
	victim_forbid(SYS_getuid, SECCOMP_RET_ERRNO | ENODEV);
	act_loop(victim);
}

static void test_answers_of_a_filter(void **state)
{
	struct injector_options options = {.suspend_seccomp = true};
	struct injector injector;
	struct snap_error err = {0};
	struct victim victim;
	int64_t value;
	int r;

	(void)state;
	victim_start(&victim, act_filtered);
	for (int i = 0; i < 3; i++) {
		attach(victim.pid, &injector);
		assert_int_equal(injector_call(&injector, SYS_getpid, no_args, &value, &err), 0);
		assert_int_equal(value, -ENOSYS);
		if (i > 0) {
			assert_int_equal(
				injector_call(&injector, SYS_getuid, no_args, &value, &err), 0);
			assert_int_equal(value, -ENODEV);
		}
		assert_int_equal(injector_detach(&injector), 0);
		assert_loop_runs(&victim);
	}
	r = injector_attach(victim.pid, &options, &injector, &err);
	if (r == 0) {
		assert_pid_call(&injector, victim.pid);
		assert_int_equal(injector_detach(&injector), 0);
	} else {
		assert_int_equal(r, -EPERM);
		assert_non_null(strstr(err.msg, "seccomp"));
		print_message("not suspended: %s\n", err.msg);
	}
	assert_loop_runs(&victim);
	victim_end(&victim);
}

static void *thread_of_victim(void *arg)
{
	struct victim *victim = arg;

	atomic_store(&victim->shared->tids[0], (int)syscall(SYS_gettid));
	act_loop(victim);
	return NULL;
}

static void act_thread(struct victim *victim)
{
	pthread_t thread;

	(void)pthread_create(&thread, NULL, thread_of_victim, victim);
}

static void test_one_thread_of_several(void **state)
{
	struct injector injector;
	struct victim victim;
	pid_t tid;

	(void)state;
	victim_start(&victim, act_thread);
	tid = atomic_load(&victim.shared->tids[0]);
	inject_unseen(tid, victim.pid);
	inject_unseen(victim.pid, victim.pid);
	assert_loop_runs(&victim);
	attach(tid, &injector);
	assert_pid_call(&injector, victim.pid);
	assert_int_equal(kill(victim.pid, SIGKILL), 0);
	assert_int_equal(injector_detach(&injector), -ESRCH);
	victim_end(&victim);
}

static void test_missing_thread(void **state)
{
	struct injector injector;
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	assert_int_equal(injector_attach(pid, NULL, &injector, NULL), -ESRCH);
	assert_int_equal(injector_detach(&injector), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_running_loop),
		cmocka_unit_test(test_sleepers),
		cmocka_unit_test(test_signals_wait_for_the_end),
		cmocka_unit_test(test_signals_at_any_moment),
		cmocka_unit_test(test_stop_and_continue_meanwhile),
		cmocka_unit_test(test_blocked_trap_stays_blocked),
		cmocka_unit_test(test_killed_thread_is_told),
		cmocka_unit_test(test_killed_one_is_left_to_its_parent),
		cmocka_unit_test(test_note_comes_first_and_may_refuse),
		cmocka_unit_test(test_death_of_the_tracer_is_mended),
		cmocka_unit_test(test_mask_is_mended_too),
		cmocka_unit_test(test_second_tracer_is_refused_by_name),
		cmocka_unit_test(test_without_vdso),
		cmocka_unit_test(test_answers_of_a_filter),
		cmocka_unit_test(test_one_thread_of_several),
		cmocka_unit_test(test_missing_thread),
	};

	if (!victim_can_trace())
		return 77;
	return cmocka_run_group_tests_name("injector", tests, NULL, NULL);
}
