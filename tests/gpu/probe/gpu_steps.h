/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_GPU_PROBE_GPU_STEPS_H
#define SNAP_TESTS_GPU_PROBE_GPU_STEPS_H

/* Steps of the hardware run that need the driver alone; each prints rows. */

#include <stddef.h>
#include <sys/types.h>

/* which calls the driver has, what it says of which process, what a CUDA process looks like */
void step_probe(void);
/* codes of calls that do not fit the state, of time-outs, of other callers */
void step_semantics(unsigned spin_ms);
/* its part that another user executes */
void step_other_user(pid_t pid);
/* what is where in a process of mib of device memory, from lock to unlock */
void step_anatomy(size_t mib);
/* the four calls by size */
void step_cost(size_t mib);
/* the four calls by kind of memory */
void step_variants(size_t mib);

#endif
