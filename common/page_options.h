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
	PAGE_OPTION_PAGES,    /* auto, off */
	PAGE_OPTION_COMPRESS, /* auto, none, lz4, zstd */
	PAGE_OPTION_FILLER,   /* auto, ring, writev */
	PAGE_OPTION_READER,   /* auto, uring, pread */
	PAGE_OPTION_DIRECT,   /* auto, on, off */
	PAGE_OPTION_THP,      /* auto, never */
	PAGE_OPTION_VERIFY,   /* full, header */
	PAGE_OPTION_MAX_,
};

struct page_options {
	const char *words[PAGE_OPTION_MAX_]; /* NULL: the first word of each */
};

#define PAGE_OPTION_AT(type, member, which) \
	(offsetof(type, member) + sizeof(const char *) * (which))

/* of a capture; env(NAME): the environment variable of an option, or NULL */
#define PAGE_OPTIONS_OF_CAPTURE(type, member, env)                                                \
	{"pages",                                                                                 \
	 0,                                                                                       \
	 OPTION_STRING,                                                                           \
	 PAGE_OPTION_AT(type, member, PAGE_OPTION_PAGES),                                         \
	 env("PAGES"),                                                                            \
	 "MODE",                                                                                  \
	 "memory into page files: auto, off (all into CRIU's images)"},                           \
	{                                                                                         \
		"compress", 0, OPTION_STRING, PAGE_OPTION_AT(type, member, PAGE_OPTION_COMPRESS), \
			env("COMPRESS"), "CODEC", "page files: auto, none, lz4, zstd"             \
	}

/* of a wake */
#define PAGE_OPTIONS_OF_WAKE(type, member, env)                                                  \
	{"filler",                                                                               \
	 0,                                                                                      \
	 OPTION_STRING,                                                                          \
	 PAGE_OPTION_AT(type, member, PAGE_OPTION_FILLER),                                       \
	 env("FILLER"),                                                                          \
	 "NAME",                                                                                 \
	 "how pages get into memory: auto, ring, writev"},                                       \
		{"reader",                                                                       \
		 0,                                                                              \
		 OPTION_STRING,                                                                  \
		 PAGE_OPTION_AT(type, member, PAGE_OPTION_READER),                               \
		 env("READER"),                                                                  \
		 "NAME",                                                                         \
		 "how page files are read: auto, uring, pread"},                                 \
		{"direct",                                                                       \
		 0,                                                                              \
		 OPTION_STRING,                                                                  \
		 PAGE_OPTION_AT(type, member, PAGE_OPTION_DIRECT),                               \
		 env("DIRECT"),                                                                  \
		 "WHEN",                                                                         \
		 "past the page cache: auto, on, off"},                                          \
		{"thp",                                                                          \
		 0,                                                                              \
		 OPTION_STRING,                                                                  \
		 PAGE_OPTION_AT(type, member, PAGE_OPTION_THP),                                  \
		 env("THP"),                                                                     \
		 "WHEN",                                                                         \
		 "huge pages for dense memory: auto, never"},                                    \
	{                                                                                        \
		"verify", 0, OPTION_STRING, PAGE_OPTION_AT(type, member, PAGE_OPTION_VERIFY),    \
			env("VERIFY"), "WHAT", "checksums of page content: full, header (trust)" \
	}

/* SNAP_E_USAGE names the first option whose word is none of its own */
int page_options_check(const struct page_options *options, struct snap_error *err);

/* which of its words it is, in the order above; 0 when nothing was said; checked before */
unsigned int page_options_index(const struct page_options *options, enum page_option which);

/* "--filler" and so on */
const char *page_option_name(enum page_option which);

#endif
