/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_GPU_PROBE_LOOKED_AT_H
#define SNAP_TESTS_GPU_PROBE_LOOKED_AT_H

/* A process with device memory, from the side of the one that made it and checkpoints it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct target {
	pid_t pid;
	int words, answers;
};

/* gpu_probe body KIND MIB; false, with a row that says so, if it does not come up */
bool target_start(struct target *target, const char *step, const char *kind, size_t mib);
/* an answer within seconds; the process must be running, not locked */
bool target_ask(const struct target *target, const char *word, int seconds, char *ret, size_t size);
/* "" where it does not answer */
void target_sum(const struct target *target, char *ret, size_t size);
/*
 * The allowed end: a process that has its devices is locked and checkpointed before it is killed.
 * Killing a live restored one has hung a machine (NVIDIA/cuda-checkpoint #53).
 */
void target_end(struct target *target);
/* the same for any process and all its descendants; false if one of them could not be brought to
 * that */
bool target_end_tree(pid_t pid);

#endif
