/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_WORKER_NESTED_H
#define SNAP_WORKER_NESTED_H

/*
 * Verification beside the original: the fresh snapshot is woken in pid, network and mount
 * namespaces of its own, where its pids and addresses are free, asked its oracle, and ended. The
 * original serves on meanwhile. Both see the same files, so this is done only for a tree that
 * writes none and has no socket in the file system.
 */

#include "snapshot/manifest.h"
#include "worker/worker_options.h"

/* outcome of nested_verify(): not tried, err->msg says why; the next wake asks the oracle then */
#define NESTED_SKIPPED 1

/* 0: it answers as before. Negative errno: it does not, err says what happened */
int nested_verify(const struct worker_options *options, const struct manifest *m,
		  const char *generation, struct snap_error *err);

#endif
