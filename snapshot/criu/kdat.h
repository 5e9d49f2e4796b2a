/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CRIU_KDAT_H
#define SNAP_SNAPSHOT_CRIU_KDAT_H

/*
 * CRIU probes the kernel for some 40 ms unless it finds criu.kdat, which it writes on a tmpfs
 * only and reads from anywhere. We keep that file in the store, below kdat/KEY/, where KEY covers
 * what its content depends on: kernel release and version, CRIU's build, its mode and our rights.
 * The one fact in it that may differ between boots of one kernel, the device of shared memory, is
 * compared before each use.
 */

#include <stdbool.h>

#include "common/error.h"
#include "snapshot/criu/program.h"
#include "snapshot/manifest.h"
#include "snapshot/store.h"

struct kdat {
	int dir_fd; /* holds criu.kdat, for criu_session_use_cache(); FD_NONE: no usable cache */
	bool hit;
};

/*
 * Look in the store; in privileged mode the file is also put to /run, where CRIU looks. *ret is
 * the caller's to kdat_done().
 */
void kdat_find(const struct store *store, const struct criu_program *program,
	       const struct fingerprint *here, bool unprivileged, struct kdat *ret);
void kdat_done(struct kdat *kdat); /* idempotent */

/*
 * Let CRIU probe once and keep the result in the store, unless it is there already. A failure
 * costs time at the next wake and nothing else: the caller logs it and goes on.
 */
int kdat_make(const struct store *store, const struct criu_program *program,
	      const struct fingerprint *here, bool unprivileged, struct snap_error *err);

#endif
