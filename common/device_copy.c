/* SPDX-License-Identifier: Apache-2.0 */
#include "common/device_copy.h"

#define MIB_SHIFT	20
#define MIB_TO_GIB_MASK 1023U

uint64_t device_copy_ms(uint64_t bytes)
{
	uint64_t ms = ((bytes >> MIB_SHIFT) * DEVICE_COPY_MS_PER_GIB + MIB_TO_GIB_MASK) >> 10;

	return ms < DEVICE_COPY_MAX_MS ? ms : DEVICE_COPY_MAX_MS;
}
