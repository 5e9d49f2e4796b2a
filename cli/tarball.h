/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_TARBALL_H
#define SNAP_CLI_TARBALL_H

/* The tar half of `export`: a generation as one file, or into a pipe. */

#include "cli/opened.h"
#include "cli/verbs.h"

struct tarball_options {
	const char *to;	      /* a file that does not exist yet, a fifo, or "-" */
	const char *compress; /* NULL: zstd */
};

/* pack it and tell so; what is told goes to standard error when the archive has standard output */
int tarball_write(struct opened *opened, const char *store, const struct tarball_options *options,
		  const struct verb_common *common, struct snap_error *err);

#endif
