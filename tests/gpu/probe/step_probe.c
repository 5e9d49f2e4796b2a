/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixtures/cuda_library.h"

#include "gpu_steps.h"
#include "looked_at.h"
#include "maps.h"
#include "row.h"
#include "walk.h"

#define STEP	       "probe"
#define TEXT_MAX       8192
#define SINCE_PUBLIC   12080 /* the six calls */
#define SINCE_STORAGE  13040 /* CustomStorage */
#define MIB_OF_A_PROBE 16

static void resolve(const char *name, int version)
{
	CUdriverProcAddressQueryResult status = -1;
	void *function = NULL;
	int code = CUDA_TRY(cuGetProcAddress_v2, name, &function, version, 0, &status);

	row_open(STEP, "resolve");
	row_text("name", name);
	row_number("version", version);
	row_number("code", code);
	row_number("status", status);
	row_flag("found", function != NULL);
	row_close();
}

static void resolve_all(void)
{
	static const char *const names[] = {
		"cuCheckpointProcessGetRestoreThreadId",
		"cuCheckpointProcessGetState",
		"cuCheckpointProcessLock",
		"cuCheckpointProcessCheckpoint",
		"cuCheckpointProcessRestore",
		"cuCheckpointProcessUnlock",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		resolve(names[i], SINCE_PUBLIC);
	resolve("cuCheckpointOperationComplete", SINCE_STORAGE);
	resolve("cuCheckpointOperationComplete", 13000);
}

static void ask_state(const char *what, pid_t pid)
{
	CUprocessState state = (CUprocessState)-1;
	int tid = -1;

	row_open(STEP, what);
	row_number("state_code", CUDA_TRY(cuCheckpointProcessGetState, pid, &state));
	row_number("state", (int)state);
	row_number("thread_code", CUDA_TRY(cuCheckpointProcessGetRestoreThreadId, pid, &tid));
	row_flag("thread_is_first", tid == pid);
	row_close();
}

static void initialise(void)
{
	double start = walk_now_ms();
	int code = CUDA_TRY(cuInit, 0), version = 0;

	row_open(STEP, "init");
	row_number("code", code);
	row_ms("ms", walk_now_ms() - start);
	(void)CUDA_TRY(cuDriverGetVersion, &version);
	row_number("cuda", version);
	row_close();
}

static pid_t ended_pid(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	return pid;
}

static void show(pid_t pid)
{
	static char text[TEXT_MAX];

	row_open(STEP, "target");
	maps_list(pid, "task", text, sizeof(text));
	row_text("threads", text);
	maps_list(pid, "fd", text, sizeof(text));
	row_text("descriptors", text);
	row_number("device_fds", (long long)maps_device_fds(pid));
	row_close();
}

void step_probe(void)
{
	struct target cuda, other;

	resolve_all();
	if (!target_start(&cuda, STEP, "plain", MIB_OF_A_PROBE))
		return;
	ask_state("cuda-before-init", cuda.pid);
	initialise();
	ask_state("cuda", cuda.pid);
	show(cuda.pid);
	if (target_start(&other, STEP, "none", 0)) {
		ask_state("without-cuda", other.pid);
		target_end(&other);
	}
	ask_state("missing", ended_pid());
	target_end(&cuda);
}
