/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_COMPLETION_H
#define SNAP_CLI_COMPLETION_H

/* Completion scripts of snapctl and snapinit for a shell, made from the tables of options. */

#include <stdio.h>

#include "cli/verbs.h"

#define COMPLETION_SHELLS "bash|zsh|fish"

/* one of COMPLETION_SHELLS; -EINVAL for another */
int completion_print(const char *shell, FILE *out);

void completion_print_bash(FILE *out);
void completion_print_zsh(FILE *out);
void completion_print_fish(FILE *out);

/* --- for the three of them -------------------------------------------------------------------- */

/* what there is to complete; a value of an option, or a word behind the options */
struct completion_words {
	enum {
		COMPLETE_ANY,
		COMPLETE_DIR,
		COMPLETE_FILE,
		COMPLETE_USER,
		COMPLETE_WORDS
	} kind;

	char words[256]; /* with blanks between; empty for other kinds */
};

void completion_of_option(const struct option_def *def, struct completion_words *ret);
void completion_of_choices(const char *choices, struct completion_words *ret);

/* names of the verbs with blanks between; the caller's to free, NULL without memory */
char *completion_verbs(void);

/* text for a place between single quotes; `escape` characters get a backslash, ' becomes `quote` */
void completion_put_quoted(const char *text, const char *escape, const char *quote, FILE *out);

#endif
