/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_OPTIONS_H
#define SNAP_COMMON_OPTIONS_H

/*
 * One table describes a program's options: flag, letter, environment twin, type, place in the
 * program's struct, help. Flag beats environment beats what the struct already holds. Parsing
 * stops at "--" or at the first word that is no option, as with tini. Values are not copied: the
 * struct points into argv and the environment.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/error.h"

enum option_type {
	OPTION_FLAG,	 /* bool */
	OPTION_COUNT,	 /* int, one more each time */
	OPTION_STRING,	 /* const char * */
	OPTION_DURATION, /* uint64_t, milliseconds */
	OPTION_SIZE,	 /* uint64_t, bytes */
	OPTION_UINT,	 /* uint64_t */
	OPTION_SIGNAL,	 /* int */
	OPTION_LIST,	 /* struct option_list */
	OPTION_SET,	 /* struct option_set; several numbers with commas between at once */
	OPTION_WORD,	 /* const char *, only as --name=WORD; "" without a word */
};

#define OPTION_LIST_MAX 64

struct option_list {
	const char *items[OPTION_LIST_MAX];
	unsigned int n;
};

#define OPTION_SET_MAX 255

/* numbers from 0 to OPTION_SET_MAX */
struct option_set {
	uint64_t bits[(OPTION_SET_MAX + 1) / 64];
};

static inline bool option_set_has(const struct option_set *set, int n)
{
	return n >= 0 && n <= OPTION_SET_MAX && (set->bits[n / 64] >> (n % 64) & 1);
}

struct option_def {
	const char *name; /* without dashes; NULL ends the table */
	char letter;	  /* 0: none */
	enum option_type type;
	size_t offset;	 /* in the caller's struct */
	const char *env; /* NULL: none */
	const char *arg; /* placeholder in the help, NULL for flags */
	const char *help;
};

/*
 * Fill `target`; *ret_next is the index in argv of the first word that is not ours. Returns 0 or
 * -EINVAL with one line in err that says what is wrong and where.
 */
int options_parse(const struct option_def *defs, void *target, int argc, char **argv, int *ret_next,
		  struct snap_error *err);

/* the table as aligned help text */
void options_print(const struct option_def *defs, FILE *out);

#endif
