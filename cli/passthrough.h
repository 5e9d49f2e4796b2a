/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_PASSTHROUGH_H
#define SNAP_CLI_PASSTHROUGH_H

/*
 * `snapctl run` takes options of its own and of snapinit on one command line. Words that name one
 * of ours are taken out, in whatever order they come; the rest goes to snapinit word by word.
 *
 * The command begins behind "--". Without "--" it begins at the first word that is no option, as
 * long as no option of snapinit came before: whether such an option takes a value is not known
 * here.
 */

#include "common/error.h"
#include "common/options.h"

struct passthrough {
	char **own; /* argv[0] and our options, NULL-terminated: for options_parse() */
	int n_own;
	char **rest; /* snapinit's options */
	int n_rest;
	char **command; /* into argv, NULL-terminated */
};

/* 0 or -EINVAL with one line in err */
int passthrough_split(const struct option_def *defs, int argc, char **argv, struct passthrough *ret,
		      struct snap_error *err);

void passthrough_done(struct passthrough *words);

#endif
