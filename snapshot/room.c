/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a capture writes goes into the page cache, which is charged to our control group like
 * anything else. On a disk it is no load: the kernel writes it out and drops it before it kills
 * anybody, and the engine stands still for as long as that takes. On a tmpfs it is there to stay,
 * and at the moment when all is written the engine still has all it has.
 */

#include "snapshot/room.h"

#include <errno.h>
#include <inttypes.h>

#define MIB ((uint64_t)1 << 20)
/* pages.map while it is made: 16 bytes for each run of pages in two places, if every second page
 * is one, and its text */
#define MAP_SHARE 128

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t room_needed(const struct room_load *load)
{
	uint64_t stored = sum(load->stored_bytes, load->device_bytes);
	uint64_t need = sum(ROOM_WORKSPACE, stored / MAP_SHARE);

	need = sum(need, load->device_bytes);
	return load->store_is_memory ? sum(need, stored) : need;
}

static uint64_t in_mib(uint64_t bytes)
{
	return bytes / MIB + (bytes % MIB != 0);
}

int room_check(const struct room_load *load, uint64_t limit, uint64_t available, uint64_t *ret_left,
	       struct snap_error *err)
{
	uint64_t need = room_needed(load);

	if (need <= available) {
		*ret_left = available - need;
		return 0;
	}
	if (load->store_is_memory)
		(void)snap_fail_plain(
			err, SNAP_E_PREFLIGHT, ENOMEM,
			"memory: %" PRIu64 " MiB available of %" PRIu64
			" MiB, a capture needs %" PRIu64
			" MiB beside the engine, of which the snapshot takes %" PRIu64
			" MiB because the store is on a tmpfs (remedy: a store on a disk, or a "
			"higher memory limit)",
			available / MIB, limit / MIB, in_mib(need),
			in_mib(sum(load->stored_bytes, load->device_bytes)));
	else
		(void)snap_fail_plain(err, SNAP_E_PREFLIGHT, ENOMEM,
				      "memory: %" PRIu64 " MiB available of %" PRIu64
				      " MiB, a capture needs %" PRIu64
				      " MiB beside the engine (remedy: a higher memory limit)",
				      available / MIB, limit / MIB, in_mib(need));
	return -ENOMEM;
}
