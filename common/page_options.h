/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_PAGE_OPTIONS_H
#define SNAP_COMMON_PAGE_OPTIONS_H

/*
 * The options of the page path. snapinit and snapctl only check and pass them on, snapworker obeys
 * them; so words and meaning stand in one place.
 */

#include "common/error.h"
#include "common/options.h"

enum page_option {
	PAGE_OPTION_PAGES,
	PAGE_OPTION_COMPRESS,
	PAGE_OPTION_GPU_MODE,
	PAGE_OPTION_FILLER,
	PAGE_OPTION_READER,
	PAGE_OPTION_DIRECT,
	PAGE_OPTION_THP,
	PAGE_OPTION_VERIFY,
	PAGE_OPTION_MAX_,
};

struct page_options {
	const char *words[PAGE_OPTION_MAX_]; /* NULL: the first of PAGE_WORDS_… */
};

#define PAGE_WORDS_PAGES    "auto|off"
#define PAGE_WORDS_COMPRESS "auto|none|lz4|zstd"
#define PAGE_WORDS_GPU_MODE "staging|storage"
#define PAGE_WORDS_FILLER   "auto|ring|writev"
#define PAGE_WORDS_READER   "auto|uring|pread"
#define PAGE_WORDS_DIRECT   "auto|on|off"
#define PAGE_WORDS_THP	    "auto|never"
#define PAGE_WORDS_VERIFY   "full|header"

/* one entry of a table; env_of(NAME), key_of(name): its variable and its key in the file, or NULL
 */
#define PAGE_OPTION(type, member, env_of, key_of, name, NAME, preset, text)                  \
	{                                                                                    \
		name, 0, OPTION_CHOICE,                                                      \
			offsetof(type, member) + sizeof(const char *) * PAGE_OPTION_##NAME,  \
			env_of(#NAME), NULL, text, .key = key_of(name), .initial = (preset), \
						   .words = PAGE_WORDS_##NAME                \
	}

/* clang-format off */
#define PAGE_OPTIONS_OF_CAPTURE(type, member, env_of, key_of)                   \
	PAGE_OPTION(type, member, env_of, key_of, "pages", PAGES, "auto",       \
		    "memory into page files, or all into CRIU's images"), \
	PAGE_OPTION(type, member, env_of, key_of, "compress", COMPRESS, "auto", \
		    "of page files"),                                          \
	PAGE_OPTION(type, member, env_of, key_of, "gpu-mode", GPU_MODE, "staging", \
		    "device memory by way of the processes, or past them (driver 615)")

#define PAGE_OPTIONS_OF_WAKE(type, member, env_of, key_of)                  \
	PAGE_OPTION(type, member, env_of, key_of, "filler", FILLER, "auto", \
		    "how pages get into memory"),                     \
	PAGE_OPTION(type, member, env_of, key_of, "reader", READER, "auto", \
		    "how page files are read"),                       \
	PAGE_OPTION(type, member, env_of, key_of, "direct", DIRECT, "auto", \
		    "past the page cache"),                           \
	PAGE_OPTION(type, member, env_of, key_of, "thp", THP, "auto",       \
		    "huge pages for dense memory"),                   \
	PAGE_OPTION(type, member, env_of, key_of, "verify", VERIFY, "full", \
		    "checksums of page content, or trust")
/* clang-format on */

/* which of its words it is, in the order of PAGE_WORDS_…; 0 when nothing was said */
unsigned int page_options_index(const struct page_options *options, enum page_option which);

/* "--filler" and so on */
const char *page_option_name(enum page_option which);

#endif
