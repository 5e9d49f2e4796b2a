/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixtures/cuda_library.h"

#include "gpu_steps.h"
#include "looked_at.h"
#include "row.h"
#include "walk.h"

#define STEP	 "semantics"
#define MIB_HERE 16
#define NOBODY	 65534

static void check_sum(const struct target *target, const char *before)
{
	char after[64];

	target_sum(target, after, sizeof(after));
	row_flag("sums_equal", *before && strcmp(before, after) == 0);
}

/* each call in a state that it does not fit, which should change nothing */
static void try_wrong(pid_t pid, const char *state, const enum walk_call *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		row_open(STEP, "wrong-state");
		row_text("state", state);
		row_text("call", walk_name(calls[i]));
		row_number("code", walk_do(pid, calls[i], 1000, NULL));
		row_number("state_after", walk_state(pid));
		row_close();
	}
}

static void wrong_states(const struct target *target)
{
	static const enum walk_call running[] = {WALK_CHECKPOINT, WALK_RESTORE, WALK_UNLOCK},
				    locked[] = {WALK_LOCK, WALK_RESTORE},
				    checkpointed[] = {WALK_LOCK, WALK_CHECKPOINT, WALK_UNLOCK};
	struct walk walk;
	char before[64];

	target_sum(target, before, sizeof(before));
	try_wrong(target->pid, "running", running, 3);
	(void)walk_through(target->pid, WALK_LOCK, WALK_LOCK, &walk);
	try_wrong(target->pid, "locked", locked, 2);
	(void)walk_through(target->pid, WALK_CHECKPOINT, WALK_CHECKPOINT, &walk);
	try_wrong(target->pid, "checkpointed", checkpointed, 3);
	row_open(STEP, "walk-after-wrong-calls");
	if (walk_through(target->pid, WALK_RESTORE, WALK_UNLOCK, &walk))
		check_sum(target, before);
	walk_put(&walk);
	row_close();
}

/* a device that is busy for longer than the lock may wait, and one that may wait for ever */
static void busy(const struct target *target, unsigned spin_ms)
{
	char word[32], answer[64];
	double ms;
	int code;

	(void)snprintf(word, sizeof(word), "spin %u", spin_ms);
	if (!target_ask(target, word, 10, answer, sizeof(answer)) || strcmp(answer, "spins") != 0) {
		row_open(STEP, "lock-timeout");
		row_text("result", "skipped: no kernels (nvcc)");
		row_close();
		return;
	}
	code = walk_do(target->pid, WALK_LOCK, spin_ms / 5, &ms);
	row_open(STEP, "lock-timeout");
	row_number("kernel_ms", spin_ms);
	row_number("limit_ms", spin_ms / 5);
	row_number("code", code);
	row_ms("ms", ms);
	row_number("state_after", walk_state(target->pid));
	row_close();
	code = walk_do(target->pid, WALK_LOCK, 0, &ms);
	row_open(STEP, "lock-waits");
	row_number("code", code);
	row_ms("ms", ms);
	row_number("unlock_code", walk_do(target->pid, WALK_UNLOCK, 0, NULL));
	row_close();
}

static void from_itself(void)
{
	struct target target;
	char answer[64];

	if (!target_start(&target, STEP, "plain", MIB_HERE))
		return;
	row_open(STEP, "self");
	row_text("codes",
		 target_ask(&target, "self", 20, answer, sizeof(answer)) ? answer : "no answer");
	row_close();
	target_end(&target);
}

void step_other_user(pid_t pid)
{
	CUprocessState state = CU_PROCESS_STATE_RUNNING;

	row_open(STEP, "other-user");
	row_number("state_code", CUDA_TRY(cuCheckpointProcessGetState, pid, &state));
	row_number("lock_code", walk_do(pid, WALK_LOCK, 1000, NULL));
	row_close();
}

/* executed anew: a driver that was initialised does not work in a fork */
static void __attribute__((noreturn)) become_nobody(const struct target *target)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", target->pid);
	if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
		_exit(255);
	(void)execl("/proc/self/exe", "gpu_probe", "other-user", text, (char *)NULL);
	_exit(127);
}

static void as_nobody(const struct target *target)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		become_nobody(target);
	(void)waitpid(pid, &status, 0);
	if (status != 0) {
		row_open(STEP, "other-user");
		row_number("wait_status", status);
		row_close();
	}
	if (walk_state(target->pid) == CU_PROCESS_STATE_LOCKED)
		(void)walk_do(target->pid, WALK_UNLOCK, 0, NULL);
}

/* a pair that names a GPU that is not there is refused, and a plain restore follows */
static void bogus_pair(const struct target *target)
{
	CUcheckpointGpuPair pair;
	CUcheckpointRestoreArgs args = {.gpuPairs = &pair, .gpuPairsCount = 1};
	struct walk walk;
	char before[64];

	memset(&pair, 0xAB, sizeof(pair));
	target_sum(target, before, sizeof(before));
	if (!walk_through(target->pid, WALK_LOCK, WALK_CHECKPOINT, &walk))
		return;
	row_open(STEP, "bogus-pair");
	row_number("code", CUDA_TRY(cuCheckpointProcessRestore, target->pid, &args));
	row_number("state_after", walk_state(target->pid));
	if (walk_through(target->pid, WALK_RESTORE, WALK_UNLOCK, &walk))
		check_sum(target, before);
	walk_put(&walk);
	row_close();
}

void step_semantics(unsigned spin_ms)
{
	struct target target;

	CUDA_CALL(cuInit, 0);
	if (!target_start(&target, STEP, "plain", MIB_HERE))
		return;
	wrong_states(&target);
	busy(&target, spin_ms);
	as_nobody(&target);
	bogus_pair(&target);
	target_end(&target);
	from_itself();
}
