/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_DIALECT_H
#define SNAP_COMMON_DIALECT_H

/*
 * Behaving as another small init whose place we take. Their options clash with none of ours, so
 * all are understood always; a dialect only changes what holds without any option, the text of
 * --version, and the exit status of a usage error. It is chosen by --docker-init-compat, or else
 * by the name we are called by. docs/init.md has the differences that are left.
 */

#include <stdio.h>

enum dialect {
	DIALECT_NONE,
	DIALECT_TINI, /* also Docker's own docker-init */
	DIALECT_DUMB_INIT,
	DIALECT_CATATONIT,
};

/* by the last part of argv[0]; NULL is DIALECT_NONE */
enum dialect dialect_of_program(const char *path);

/* "none", "tini", "docker-init", "dumb-init", "catatonit"; "" is tini. 0 or -EINVAL */
int dialect_parse(const char *word, enum dialect *ret);

/* the line of --version, where they write it */
void dialect_print_version(enum dialect dialect);

/* what a usage error exits with */
int dialect_usage_status(enum dialect dialect);

#endif
