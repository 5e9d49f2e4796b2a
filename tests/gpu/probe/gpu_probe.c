/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the driver's checkpoint calls do on this machine, as JSON lines; tests/gpu/run.sh runs it.
 *
 *   gpu_probe probe|semantics SPIN_MS|anatomy MIB|cost MIB...|variants MIB
 *   gpu_probe free             MiB free on the first GPU
 *   gpu_probe end PID...       ends these and their descendants as it is allowed (looked_at.h)
 *   gpu_probe body KIND MIB    the process that is looked at (body.h)
 *
 * The libcuda.so.1 is the one that the loader finds. GPU_RUN_CUBIN names kernels (cuda_kernels.cu),
 * GPU_RUN_PIDS a file that gets the pids of processes made.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fixtures/cuda_library.h"

#include "body.h"
#include "gpu_steps.h"
#include "looked_at.h"

static size_t number(int argc, char **argv, int i)
{
	char *end;
	size_t n;

	if (i >= argc)
		fixture_die(2, "%s: a number is missing", argv[1]);
	n = strtoul(argv[i], &end, 10);
	if (*end)
		fixture_die(2, "%s: not a number: %s", argv[1], argv[i]);
	return n;
}

static int end_all(int argc, char **argv)
{
	int status = 0;

	CUDA_CALL(cuInit, 0);
	for (int i = 2; i < argc; i++) {
		pid_t pid = (pid_t)number(argc, argv, i);

		if (pid > 1 && kill(pid, 0) == 0 && !target_end_tree(pid))
			status = 1;
	}
	return status;
}

static int print_free(void)
{
	size_t free_bytes, total_bytes;
	CUcontext context;

	CUDA_CALL(cuInit, 0);
	CUDA_CALL(cuCtxCreate_v2, &context, 0, 0);
	CUDA_CALL(cuMemGetInfo_v2, &free_bytes, &total_bytes);
	CUDA_CALL(cuCtxDestroy_v2, context);
	printf("%zu\n", free_bytes >> 20);
	return 0;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	/* a body that has ended is told by its answers */
	(void)signal(SIGPIPE, SIG_IGN);
	if (strcmp(word, "probe") == 0)
		step_probe();
	else if (strcmp(word, "semantics") == 0)
		step_semantics((unsigned)number(argc, argv, 2));
	else if (strcmp(word, "other-user") == 0)
		step_other_user((pid_t)number(argc, argv, 2));
	else if (strcmp(word, "anatomy") == 0)
		step_anatomy(number(argc, argv, 2));
	else if (strcmp(word, "variants") == 0)
		step_variants(number(argc, argv, 2));
	else if (strcmp(word, "cost") == 0)
		for (int i = 2; i < argc; i++)
			step_cost(number(argc, argv, i));
	else if (strcmp(word, "free") == 0)
		return print_free();
	else if (strcmp(word, "end") == 0)
		return end_all(argc, argv);
	else if (strcmp(word, "body") == 0 && argc == 4)
		return body_run(argv[2], number(argc, argv, 3));
	else
		fixture_die(2,
			    "usage: gpu_probe probe|semantics|anatomy|cost|variants|free|end ...");
	return 0;
}
