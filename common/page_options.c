/* SPDX-License-Identifier: Apache-2.0 */
#include "common/page_options.h"

#include <errno.h>
#include <string.h>

#define WORDS_MAX 4U

struct page_option_words {
	const char *name;
	const char *words[WORDS_MAX + 1];
	const char *told;
};

static const struct page_option_words table[PAGE_OPTION_MAX_] = {
	[PAGE_OPTION_PAGES] = {"--pages", {"auto", "off"}, "auto or off"},
	[PAGE_OPTION_COMPRESS] = {"--compress",
				  {"auto", "none", "lz4", "zstd"},
				  "auto, none, lz4 or zstd"},
	[PAGE_OPTION_FILLER] = {"--filler", {"auto", "ring", "writev"}, "auto, ring or writev"},
	[PAGE_OPTION_READER] = {"--reader", {"auto", "uring", "pread"}, "auto, uring or pread"},
	[PAGE_OPTION_DIRECT] = {"--direct", {"auto", "on", "off"}, "auto, on or off"},
	[PAGE_OPTION_THP] = {"--thp", {"auto", "never"}, "auto or never"},
	[PAGE_OPTION_VERIFY] = {"--verify", {"full", "header"}, "full or header"},
};

static int find(enum page_option which, const char *word)
{
	for (int i = 0; table[which].words[i]; i++) {
		if (strcmp(table[which].words[i], word) == 0)
			return i;
	}
	return -EINVAL;
}

int page_options_check(const struct page_options *options, struct snap_error *err)
{
	for (unsigned int i = 0; i < PAGE_OPTION_MAX_; i++) {
		if (options->words[i] && find((enum page_option)i, options->words[i]) < 0)
			return snap_fail_plain(err, SNAP_E_USAGE, EINVAL, "%s: '%s' is not %s",
					       table[i].name, options->words[i], table[i].told);
	}
	return 0;
}

unsigned int page_options_index(const struct page_options *options, enum page_option which)
{
	int i = options->words[which] ? find(which, options->words[which]) : 0;

	return i < 0 ? 0 : (unsigned int)i;
}

const char *page_option_name(enum page_option which)
{
	return table[which].name;
}
