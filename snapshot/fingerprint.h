/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_FINGERPRINT_H
#define SNAP_SNAPSHOT_FINGERPRINT_H

/*
 * What this host is and what rights we have: taken from the kernel. With it come the other things
 * that a manifest takes from this host.
 */

#include "snapshot/digest.h"
#include "snapshot/elf.h"
#include "snapshot/identity.h"
#include "snapshot/manifest.h"

/*
 * Fill everything of *ret but criu_version and criu_build_id, which are taken from the arguments
 * (dup'ed). setting: "A" when SYS_ADMIN, NET_ADMIN, SYS_PTRACE, SYS_TIME, SETPCAP and
 * CHECKPOINT_RESTORE (or SYS_ADMIN alone for the last) are effective in the machine's own user
 * namespace and no seccomp filter is on us; "B" with CHECKPOINT_RESTORE and SETPCAP and no filter;
 * "C" like B but with a filter; else "none".
 */
int fingerprint_take(const char *criu_version, const char *criu_build_id, struct fingerprint *ret,
		     struct snap_error *err);

#endif
