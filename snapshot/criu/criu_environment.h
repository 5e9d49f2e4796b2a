/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CRIU_CRIU_ENVIRONMENT_H
#define SNAP_SNAPSHOT_CRIU_CRIU_ENVIRONMENT_H

/*
 * The environment that CRIU is started with: ours, and where it finds its kernel-feature cache.
 * GnuTLS, which CRIU links for its page server, need not get ready for a connection that never
 * comes (some 0.4 ms).
 */

#include <limits.h>

struct criu_environment {
	char **envp; /* NULL: none */
	char runtime[PATH_MAX + 32];
};

/* 0 or -ENOMEM, -ENAMETOOLONG; *ret stays where it is until criu_environment_done() */
int criu_environment_make(const char *runtime_dir, struct criu_environment *ret);
void criu_environment_done(struct criu_environment *environment); /* idempotent */

#endif
