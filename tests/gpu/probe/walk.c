/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"

#include <stdio.h>
#include <time.h>

#include "tests/fixtures/cuda_library.h"

#include "row.h"

#define LOCK_LIMIT_MS 10000

static const char *const names[] = {"lock", "checkpoint", "restore", "unlock"};

const char *walk_name(enum walk_call call)
{
	return names[call];
}

double walk_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int call_driver(pid_t pid, enum walk_call call, unsigned timeout_ms)
{
	CUcheckpointLockArgs lock = {.timeoutMs = timeout_ms};

	switch (call) {
	case WALK_LOCK:
		return CUDA_TRY(cuCheckpointProcessLock, pid, &lock);
	case WALK_CHECKPOINT:
		return CUDA_TRY(cuCheckpointProcessCheckpoint, pid, NULL);
	case WALK_RESTORE:
		return CUDA_TRY(cuCheckpointProcessRestore, pid, NULL);
	case WALK_UNLOCK:
	case WALK_CALLS:
	default:
		return CUDA_TRY(cuCheckpointProcessUnlock, pid, NULL);
	}
}

int walk_do(pid_t pid, enum walk_call call, unsigned timeout_ms, double *ret_ms)
{
	double start = walk_now_ms();
	int code = call_driver(pid, call, timeout_ms);

	if (ret_ms)
		*ret_ms = walk_now_ms() - start;
	return code;
}

int walk_state(pid_t pid)
{
	CUprocessState state = CU_PROCESS_STATE_FAILED;

	return CUDA_TRY(cuCheckpointProcessGetState, pid, &state) == CUDA_SUCCESS ? (int)state : -1;
}

bool walk_is_cuda(pid_t pid)
{
	int tid;

	return CUDA_TRY(cuCheckpointProcessGetRestoreThreadId, pid, &tid) == CUDA_SUCCESS;
}

bool walk_through(pid_t pid, enum walk_call first, enum walk_call last, struct walk *walk)
{
	for (int i = (int)first; i < WALK_CALLS; i++) {
		walk->codes[i] = -1;
		walk->ms[i] = 0;
	}
	for (int i = (int)first; i <= (int)last; i++) {
		walk->codes[i] = walk_do(pid, (enum walk_call)i, LOCK_LIMIT_MS, &walk->ms[i]);
		if (walk->codes[i] != CUDA_SUCCESS)
			return false;
	}
	return true;
}

void walk_put(const struct walk *walk)
{
	char key[32];

	for (int i = 0; i < WALK_CALLS; i++) {
		if (walk->codes[i] < 0)
			continue;
		(void)snprintf(key, sizeof(key), "%s_%s", names[i], walk->codes[i] ? "code" : "ms");
		if (walk->codes[i])
			row_number(key, walk->codes[i]);
		else
			row_ms(key, walk->ms[i]);
	}
}
