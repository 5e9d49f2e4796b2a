/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_CODEC_H
#define SNAP_SNAPSHOT_PAGES_CODEC_H

/* Compression of one chunk: lz4 and zstd in one call each, no state between chunks. */

#include <stddef.h>

#include "snapshot/pages/map.h"

/* what the user asks for, in the order of common/page_options.h; auto: lz4 where it gains
 * CODEC_GAIN_PERCENT or more, else none */
enum codec_choice {
	CODEC_CHOICE_AUTO,
	CODEC_CHOICE_NONE,
	CODEC_CHOICE_LZ4,
	CODEC_CHOICE_ZSTD,
};

#define CODEC_GAIN_PERCENT 20U

const char *codec_name(enum page_codec codec);

/*
 * Compress size bytes into room bytes; bytes used, or 0 when it does not fit: then the chunk stays
 * as it is. The room is the gain that is asked for.
 */
size_t codec_compress(enum page_codec codec, void *to, size_t room, const void *from, size_t size);

/* exactly size bytes come out of stored bytes, or -EUCLEAN; from is not trusted */
int codec_decompress(enum page_codec codec, void *to, size_t size, const void *from, size_t stored);

#endif
