/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_STEADY_H
#define SNAP_CLI_STEADY_H

/* Progress of work that is counted in bytes: a line for each tenth of it, on a terminal only. */

#include <stdint.h>

struct steady {
	const char *verb;
	uint64_t told; /* tenths */
};

/* arg is the struct; little work is not worth a line */
void steady_progress(void *arg, uint64_t done, uint64_t total);

#endif
