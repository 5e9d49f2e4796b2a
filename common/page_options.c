/* SPDX-License-Identifier: Apache-2.0 */
#include "common/page_options.h"

struct page_option_words {
	const char *name;
	const char *words;
};

static const struct page_option_words table[PAGE_OPTION_MAX_] = {
	[PAGE_OPTION_PAGES] = {"--pages", PAGE_WORDS_PAGES},
	[PAGE_OPTION_COMPRESS] = {"--compress", PAGE_WORDS_COMPRESS},
	[PAGE_OPTION_GPU_MODE] = {"--gpu-mode", PAGE_WORDS_GPU_MODE},
	[PAGE_OPTION_FILLER] = {"--filler", PAGE_WORDS_FILLER},
	[PAGE_OPTION_READER] = {"--reader", PAGE_WORDS_READER},
	[PAGE_OPTION_DIRECT] = {"--direct", PAGE_WORDS_DIRECT},
	[PAGE_OPTION_THP] = {"--thp", PAGE_WORDS_THP},
	[PAGE_OPTION_VERIFY] = {"--verify", PAGE_WORDS_VERIFY},
};

unsigned int page_options_index(const struct page_options *options, enum page_option which)
{
	const char *word = options->words[which];
	int i = word ? option_word_index(table[which].words, word) : 0;

	return i < 0 ? 0 : (unsigned int)i;
}

const char *page_option_name(enum page_option which)
{
	return table[which].name;
}
