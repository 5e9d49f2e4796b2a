/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/steady.h"

#include <inttypes.h>
#include <unistd.h>

#include "cli/output.h"

#define WORTH_BYTES ((uint64_t)256 << 20)

void steady_progress(void *arg, uint64_t done, uint64_t total)
{
	struct steady *steady = arg;
	char part[OUTPUT_SIZE_MAX], whole[OUTPUT_SIZE_MAX];
	uint64_t tenths = total / 10 > 0 ? done / (total / 10) : 0;

	if (total < WORTH_BYTES || tenths <= steady->told || tenths > 9)
		return;
	steady->told = tenths;
	if (isatty(STDERR_FILENO))
		output_progress("%s: %" PRIu64 " %%, %s of %s", steady->verb, 10 * tenths,
				output_size(done, part), output_size(total, whole));
}
