/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_STORE_H
#define SNAP_SNAPSHOT_STORE_H

/*
 * The folder that holds snapshots: gen-N/ complete and synced, `current` naming one of them and
 * replaced by rename, `lease` held by the one capturer (docs/formats/store.md). 0700, ours or
 * root's, never reached through a symbolic link in its last component.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define STORE_NAME_MAX	 32	/* "gen-" and digits */
#define PUBLISH_LEASE_MS 60000U /* is enough to sync and publish */

struct store {
	int fd; /* the folder, FD_NONE when closed */
	bool holds_lease;
	char lease_token[33]; /* tells our lease from one that broke it */
	char path[4096];
};

/* "gen-" and a number of 1 to 9 digits without leading zero */
bool store_name_is_valid(const char *name);

/*
 * Open the folder; create it (0700) if `create`. SNAP_E_NO_SNAPSHOT (-ENOENT) when it is not
 * there, SNAP_E_CORRUPT (-EPERM) when others own it or may write to it.
 */
int store_open(struct store *store, const char *path, bool create, struct snap_error *err);
void store_close(struct store *store); /* gives up a held lease; idempotent */

/* name of the current generation; -ENOENT with SNAP_E_NO_SNAPSHOT when none is published */
int store_current(const struct store *store, char ret_name[STORE_NAME_MAX], struct snap_error *err);

/* descriptor of a generation's folder, the caller's to close, or -errno; checks name and owner */
int store_open_generation(const struct store *store, const char *name, struct snap_error *err);

/*
 * The same, and nobody's gc or publishing removes it while the descriptor is open.
 * SNAP_E_NO_SNAPSHOT (-ENOENT) when it is gone or about to go
 */
int store_hold_generation(const struct store *store, const char *name, struct snap_error *err);

/* store_current() and store_hold_generation(), again when another one becomes current meanwhile */
int store_hold_current(const struct store *store, char ret_name[STORE_NAME_MAX],
		       struct snap_error *err);

/* the lease alone, to keep others from making and publishing; store_close() gives it up */
int store_take_lease(struct store *store, uint64_t lease_ms, struct snap_error *err);

/* before the end of what it was taken for; nothing when it is not held */
void store_give_up_lease(struct store *store);

/*
 * Take the lease (O_EXCL file with pid, boot id and expiry; an expired one, or one whose holder is
 * dead, is broken) and make an empty generation folder: the given name, or the next free number
 * when name is NULL. -EBUSY when somebody else captures.
 */
int store_begin(struct store *store, const char *name, uint64_t lease_ms,
		char ret_name[STORE_NAME_MAX], struct snap_error *err);

/* the name that store_begin() would give a generation now; nothing is made */
int store_next_name(const struct store *store, char ret_name[STORE_NAME_MAX],
		    struct snap_error *err);

/*
 * After a capture in a pid namespace that is gone (inode of its ns/pid) and that was to make the
 * generation `name`: remove what it left, lease and generation, if the lease is still its own.
 */
void store_bury(struct store *store, const char *name, uint64_t pid_ns);

/* remove a half-made generation and everything in it; gives up the lease */
void store_abort(struct store *store, const char *name);

/* sync the generation, point `current` at it, give up the lease, collect older generations */
int store_publish(struct store *store, const char *name, struct snap_error *err);

/* the current generation does not answer as it did: nothing is current any more if it is `name` */
void store_retract(const struct store *store, const char *name);

/* sync the generation and give up the lease, `current` stays as it is */
int store_finish(struct store *store, const char *name, struct snap_error *err);

/* -ENOSPC with a message when fewer bytes are free */
int store_check_space(const struct store *store, uint64_t bytes, struct snap_error *err);

/* does what is written here stay in memory? (tmpfs; what an overlay lies on cannot be seen) */
bool store_is_memory(const struct store *store);

/* in the store's folder, left by a process that died between making and renaming it */
bool store_name_is_temporary(const char *name);

/* may we write here? (read-only mounts answer no) */
bool store_is_writable(const struct store *store);

#endif
