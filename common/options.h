/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_OPTIONS_H
#define SNAP_COMMON_OPTIONS_H

/*
 * One table describes a program's options: flag, letter, environment twin, key in the configuration
 * file, type, place in the program's struct, default, words it may be, help. What is said on the
 * command line beats the environment, that beats the configuration file, that beats the default,
 * and the default beats what the struct already holds; a list takes from all of them. Parsing stops
 * at "--" or at the first word that is no option, as with tini. Values are not copied: the struct
 * points into argv, the environment and the file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/error.h"

struct config_file;

enum option_type {
	OPTION_FLAG,	      /* bool */
	OPTION_COUNT,	      /* int, one more each time; on the command line only */
	OPTION_STRING,	      /* const char * */
	OPTION_CHOICE,	      /* const char *, one of .words */
	OPTION_DURATION,      /* uint64_t, milliseconds */
	OPTION_DURATION_TEXT, /* const char *, a duration that is handed on as it is */
	OPTION_SIZE,	      /* uint64_t, bytes */
	OPTION_UINT,	      /* uint64_t */
	OPTION_UINT_TEXT,     /* const char *, a number that is handed on as it is */
	OPTION_SIGNAL,	      /* int */
	OPTION_LIST,	      /* struct option_list */
	OPTION_SET,	      /* struct option_set; several numbers with commas between at once */
	OPTION_WORD,	      /* const char *, only as --name=WORD; "" without a word */
	OPTION_TYPE_MAX_,
};

/* what a value is, for the completion */
enum option_value {
	OPTION_VALUE_ANY,
	OPTION_VALUE_DIR,
	OPTION_VALUE_FILE,
	OPTION_VALUE_USER,
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
	const char *arg; /* placeholder in the help; NULL: none, or the words of a choice */
	const char *help;
	const char *key;     /* in the configuration file; NULL: not there */
	const char *initial; /* the default as a user would write it; NULL: none, or told in help */
	const char *words;   /* "a|b|c"; of an option that is no choice: some that are usual, from
				the first capital on only an example */
	enum option_value value;
};

#define OPTIONS_MAX 96 /* entries of a table */

enum option_origin {
	OPTION_DEFAULT,
	OPTION_FROM_CONFIG,
	OPTION_FROM_ENVIRONMENT,
	OPTION_FROM_WORD,
	OPTION_ORIGIN_MAX_,
};

/*
 * Told of a value that counts; where: "--name", the environment's NAME, "FILE:LINE" or "default".
 * value is NULL for a flag on the command line. A value told later is instead of, for a list
 * beside, one told before.
 */
typedef void (*option_note_fn)(void *arg, const struct option_def *def, enum option_origin origin,
			       const char *where, const char *value);

/* one parse; take from the sources in any order, the defaults last */
struct options {
	const struct option_def *defs;
	void *target;
	enum option_origin from[OPTIONS_MAX]; /* of each entry's value */
	option_note_fn note;		      /* NULL: nobody wants to know */
	void *note_arg;
};

void options_init(struct options *options, const struct option_def *defs, void *target);

/* *ret_next: index in argv of the first word that is not ours; argv[0] is not looked at */
int options_take_words(struct options *options, int argc, char **argv, int *ret_next,
		       struct snap_error *err);
int options_take_environment(struct options *options, struct snap_error *err);

/* a key that is in no table is a mistake; `others` (NULL: none) has keys that are known elsewhere
 */
int options_take_config(struct options *options, const struct config_file *config,
			const struct option_def *others, struct snap_error *err);
int options_take_defaults(struct options *options, struct snap_error *err);

/*
 * Words, environment and defaults. All of these return 0 or -EINVAL with one line in err that says
 * what is wrong and where.
 */
int options_parse(const struct option_def *defs, void *target, int argc, char **argv, int *ret_next,
		  struct snap_error *err);

/* the table as aligned help text */
void options_print(const struct option_def *defs, FILE *out);

const struct option_def *options_find(const struct option_def *defs, const char *name);
bool option_takes_value(const struct option_def *def);

/* what stands for the value in a text: arg, or the words of a choice; NULL for flags */
const char *option_placeholder(const struct option_def *def);

/* which of "a|b|c" it is, from 0, or -EINVAL */
int option_word_index(const char *words, const char *word);

/* the next of "a|b|c", which is *ret_size long; NULL at the end, and *at moves on */
const char *option_word_next(const char **at, size_t *ret_size);

/* "a, b or c" */
#define OPTION_WORDS_TEXT_MAX 320
const char *option_words_text(const char *words, const char *last, char buf[OPTION_WORDS_TEXT_MAX]);

#endif
