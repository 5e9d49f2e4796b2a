/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_LIB_PAGE_MAP_SEAL_H
#define SNAP_TESTS_LIB_PAGE_MAP_SEAL_H

/*
 * Gives a page map in memory the checksum that its bytes have, whatever they are, so that a test
 * gets behind it. Needs xxhash; written from docs/formats/pages.md, not from the code under test.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <xxhash.h>

#define SEAL_CHECKSUM_AT 48
#define SEAL_HEADER	 64

static inline void page_map_seal(uint8_t *data, size_t size)
{
	XXH128_hash_t hash;

	if (size < SEAL_HEADER)
		return;
	memset(data + SEAL_CHECKSUM_AT, 0, SEAL_HEADER - SEAL_CHECKSUM_AT);
	hash = XXH3_128bits(data, size);
	for (unsigned int i = 0; i < 8; i++) {
		data[SEAL_CHECKSUM_AT + i] = (uint8_t)(hash.low64 >> 8 * i);
		data[SEAL_CHECKSUM_AT + 8 + i] = (uint8_t)(hash.high64 >> 8 * i);
	}
}

#endif
