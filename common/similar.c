/* SPDX-License-Identifier: Apache-2.0 */
#include "common/similar.h"

#include <string.h>

#define WORD_MAX     40U
#define DISTANCE_MAX 2U /* changes; one for words of up to LENGTH_SHORT */
#define LENGTH_SHORT 4U

static unsigned int least(unsigned int a, unsigned int b, unsigned int c)
{
	unsigned int ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* letters to be put in, left out or replaced (Levenshtein) */
static unsigned int distance(const char *a, size_t n_a, const char *b, size_t n_b)
{
	unsigned int row[WORD_MAX + 1];

	for (unsigned int j = 0; j <= n_b; j++)
		row[j] = j;
	for (unsigned int i = 1; i <= n_a; i++) {
		unsigned int diagonal = row[0];

		row[0] = i;
		for (unsigned int j = 1; j <= n_b; j++) {
			unsigned int above = row[j];

			row[j] =
				least(diagonal + (a[i - 1] != b[j - 1]), above + 1, row[j - 1] + 1);
			diagonal = above;
		}
	}
	return row[n_b];
}

void similar_init(struct similar *similar, const char *word, size_t len)
{
	*similar = (struct similar){
		.word = word,
		.len = len,
		.distance = (len <= LENGTH_SHORT ? 1 : DISTANCE_MAX) + 1,
	};
}

void similar_try(struct similar *similar, const char *known)
{
	size_t n = strlen(known);
	unsigned int d;

	if (similar->len == 0 || similar->len > WORD_MAX || n > WORD_MAX)
		return;
	/* one who stopped early comes as near as one who made a slip */
	if (n > similar->len && similar->len >= 3 &&
	    memcmp(known, similar->word, similar->len) == 0)
		d = 1;
	else
		d = distance(similar->word, similar->len, known, n);
	if (d >= similar->distance)
		return;
	similar->distance = d;
	similar->best = known;
}
