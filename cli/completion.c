/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/completion.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

int completion_print(const char *shell, FILE *out)
{
	/* in the order of COMPLETION_SHELLS */
	static void (*const printers[])(FILE *) = {
		completion_print_bash,
		completion_print_zsh,
		completion_print_fish,
	};
	int i = option_word_index(COMPLETION_SHELLS, shell);

	if (i < 0 || (size_t)i >= ARRAY_LEN(printers))
		return -EINVAL;
	printers[i](out);
	return 0;
}

/* "tcp:HOST:PORT" begins with "tcp:"; what begins with a capital is nothing to complete */
static size_t literal_size(const char *word, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if ((word[i] >= 'A' && word[i] <= 'Z') || word[i] == ' ')
			return i;
	}
	return size;
}

void completion_of_choices(const char *choices, struct completion_words *ret)
{
	size_t used = 0, size;
	const char *word;

	*ret = (struct completion_words){.kind = COMPLETE_WORDS};
	while ((word = option_word_next(&choices, &size)) != NULL) {
		size_t n = literal_size(word, size);

		if (n == 0 || used + n + 2 > sizeof(ret->words))
			continue;
		if (used > 0)
			ret->words[used++] = ' ';
		memcpy(ret->words + used, word, n);
		used += n;
	}
	if (used == 0)
		ret->kind = COMPLETE_ANY;
}

void completion_of_option(const struct option_def *def, struct completion_words *ret)
{
	*ret = (struct completion_words){.kind = COMPLETE_ANY};
	if (def->words) {
		completion_of_choices(def->words, ret);
		return;
	}
	switch (def->value) {
	case OPTION_VALUE_ANY:
		break;
	case OPTION_VALUE_DIR:
		ret->kind = COMPLETE_DIR;
		break;
	case OPTION_VALUE_FILE:
		ret->kind = COMPLETE_FILE;
		break;
	case OPTION_VALUE_USER:
		ret->kind = COMPLETE_USER;
		break;
	}
}

char *completion_verbs(void)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return NULL;
	for (const struct verb *verb = verbs_table; verb->name; verb++) {
		if (verb->help)
			(void)fprintf(out, "%s%s", verb == verbs_table ? "" : " ", verb->name);
	}
	return fclose(out) == 0 ? text : NULL;
}

void completion_put_quoted(const char *text, const char *escape, const char *quote, FILE *out)
{
	for (; *text; text++) {
		if (*text == '\'') {
			(void)fputs(quote, out);
			continue;
		}
		if (strchr(escape, *text))
			(void)fputc('\\', out);
		(void)fputc(*text, out);
	}
}
