/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/pages/codec.h"

#include <errno.h>
#include <lz4.h>
#include <string.h>
#include <zstd.h>

#include "common/cleanup.h"

#define ZSTD_LEVEL 1 /* decoding speed depends little on it, the engine's stop does */

const char *codec_name(enum page_codec codec)
{
	static const char *const names[] = {"none", "lz4", "zstd"};

	return codec < PAGE_CODEC_MAX_ ? names[codec] : "unknown";
}

size_t codec_compress(enum page_codec codec, void *to, size_t room, const void *from, size_t size)
{
	size_t n = 0;
	int r;

	if (codec == PAGE_CODEC_LZ4) {
		r = LZ4_compress_default(from, to, (int)size, (int)room);
		n = r > 0 ? (size_t)r : 0;
	} else if (codec == PAGE_CODEC_ZSTD) {
		n = ZSTD_compress(to, room, from, size, ZSTD_LEVEL);
		n = ZSTD_isError(n) ? 0 : n;
	}
	return n;
}

int codec_decompress(enum page_codec codec, void *to, size_t size, const void *from, size_t stored)
{
	size_t n = 0;
	int r;

	if (codec == PAGE_CODEC_LZ4) {
		r = LZ4_decompress_safe(from, to, (int)stored, (int)size);
		n = r > 0 ? (size_t)r : 0;
	} else if (codec == PAGE_CODEC_ZSTD) {
		n = ZSTD_decompress(to, size, from, stored);
	}
	return n == size ? 0 : -EUCLEAN;
}
