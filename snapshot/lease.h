/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_LEASE_H
#define SNAP_SNAPSHOT_LEASE_H

/*
 * The right to capture into a store: a file `lease` that is there or not (docs/formats/store.md
 * 4). It ends by lease_drop(), with its holder, or at its expiry.
 */

#include <stdint.h>

#include "common/error.h"

#define LEASE_TOKEN_DIGITS 32

/*
 * Descriptor of a lock on the store (flock on its folder), to be closed; short, so that waiting
 * for it is. FD_NONE on file systems without such locks, -EBUSY when it could not be had.
 */
int lease_lock(int dir_fd);

/* -EBUSY with the holder in err; ret_token is what the other two want */
int lease_take(int dir_fd, uint64_t lease_ms, char ret_token[LEASE_TOKEN_DIGITS + 1],
	       struct snap_error *err);

/* 0: there is none; 1: there is one that is over; -EBUSY: somebody holds it, err says who */
int lease_probe(int dir_fd, struct snap_error *err);

/* 0 while the lease is there and ours (an expired one that nobody broke is), else -ESTALE */
int lease_check(int dir_fd, const char *token);

/*
 * Remove it if its holder lived in that pid namespace (inode of its ns/pid), of which the caller
 * knows that it is gone. 0, or -ENOENT when there is none of such a holder
 */
int lease_drop_of_dead(int dir_fd, uint64_t pid_ns);

/* remove it if it is still ours */
void lease_drop(int dir_fd, const char *token);

#endif
