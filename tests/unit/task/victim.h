/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_UNIT_TASK_VICTIM_H
#define SNAP_TESTS_UNIT_TASK_VICTIM_H

/* A child of the test in a session of its own that others trace, stop and look into. */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define VICTIM_THREADS_MAX   80
#define VICTIM_ADDRESSES_MAX 512

/* what both sides see */
struct victim_shared {
	atomic_int ready; /* 1 from victim_ready() on; more is up to the test */
	atomic_int go;
	atomic_int signals;
	atomic_int signal_value;
	atomic_int finished;
	_Atomic int64_t result;
	_Atomic int64_t elapsed_ns;
	_Atomic uint64_t turns;
	_Atomic uint64_t faults;
	atomic_int tids[VICTIM_THREADS_MAX];
	/* the kernel writes there whenever a thread goes on, on another CPU say */
	atomic_int n_rseqs;
	_Atomic uint64_t rseqs[VICTIM_THREADS_MAX];
	_Atomic uint64_t addresses[VICTIM_ADDRESSES_MAX];
};

struct victim {
	pid_t pid;
	int pipe[2]; /* the victim reads [0], the test writes [1] */
	struct victim_shared *shared;
};

/* fork; act() returns or not, the process waits to be killed then. Waits for victim_ready(). */
void victim_start(struct victim *victim, void (*act)(struct victim *victim));
void victim_end(struct victim *victim);
void victim_ready(struct victim *victim); /* called by the victim */

/* called by each thread of the victim but the first: it has a rseq area, at `at` or (0) the libc's
 */
void victim_tell_rseq(struct victim *victim, uint64_t at);

/*
 * Called by the victim: n_threads in all from here on, each of them idle and each with its own
 * victim_ready(), this one included.
 */
void victim_idle_threads(struct victim *victim, int n_threads);

/* called by a process about itself and all its later threads: a filter that answers one call so */
void victim_forbid(uint32_t call, uint32_t answer);

/* false after 10 s */
bool victim_wait(const atomic_int *flag, int at_least);
bool victim_wait_state(pid_t tid, char state);

/* every line of /proc/PID/maps, or the lines of /proc/PID/status about signals; free() it */
char *victim_maps(pid_t pid);
char *victim_signal_state(pid_t tid);

/* may this process trace its children? else a test prints why and skips */
bool victim_can_trace(void);

#endif
