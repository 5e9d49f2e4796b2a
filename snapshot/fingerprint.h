/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_FINGERPRINT_H
#define SNAP_SNAPSHOT_FINGERPRINT_H

/* What this host is and what rights we have, and who asks for a start: taken from the kernel. */

#include "snapshot/manifest.h"

/*
 * Fill everything of *ret but criu_version and criu_build_id, which are taken from the arguments
 * (dup'ed). setting: "A" when SYS_ADMIN, NET_ADMIN, SYS_PTRACE, SYS_TIME, SETPCAP and
 * CHECKPOINT_RESTORE (or SYS_ADMIN alone for the last) are effective and no seccomp filter is on
 * us; "B" with CHECKPOINT_RESTORE and SETPCAP and no filter; "C" like B but with a filter; else
 * "none".
 */
int fingerprint_take(const char *criu_version, const char *criu_build_id, struct fingerprint *ret,
		     struct snap_error *err);

/* build id of an ELF file in hex (at most 40 digits), or -errno; bounded reads */
int elf_build_id(const char *path, char *ret_hex, size_t size);

/*
 * argv, cwd, ids, groups and environment of the start at hand. The environment's ignore list
 * (HOSTNAME, PWD, SHLVL, _, TERM, NOTIFY_SOCKET, LISTEN_*, INVOCATION_ID, JOURNAL_STREAM,
 * SNAPINIT_*, KUBERNETES_* service addresses, K_REVISION …, documented in
 * docs/formats/manifest.md) leaves out what differs between
 * instances by nature. salt NULL: make a fresh one (capture); else use it (wake).
 */
int identity_take(char *const *argv, char *const *envp, const char *adapter, const char *salt,
		  struct manifest_identity *ret, struct snap_error *err);

void identity_done(struct manifest_identity *identity);

/* XXH3-128 of a file below dir_fd in hex, and its size; never follows links */
int file_digest(int dir_fd, const char *name, char ret_hex[33], uint64_t *ret_size,
		struct snap_error *err);

#endif
