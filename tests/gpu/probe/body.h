/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_GPU_PROBE_BODY_H
#define SNAP_TESTS_GPU_PROBE_BODY_H

/*
 * The process that is checkpointed: device memory of some kind, with known content. It answers
 * words of its standard input by lines:
 *
 *   sum      over all of its memory, read back; CUDA works in it then
 *   spin MS  starts a kernel that long (needs GPU_RUN_CUBIN)
 *   self     what the checkpoint calls on itself give
 *
 * and ends with its input, by itself.
 */

#include <stddef.h>
#include <stdint.h>

/* the content of word i of plain memory: what the device memory is known by in the process */
#define BODY_MARK ((uint64_t)0x5A5AB6 << 40)

/* NULL ends the list */
extern const char *const body_kinds[];

int body_run(const char *kind, size_t mib);

#endif
