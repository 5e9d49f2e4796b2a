/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_CREDENTIALS_H
#define SNAP_CLI_CREDENTIALS_H

/* Whom an engine runs as, said as container runtimes say it: USER[:GROUP], names or numbers. */

#include <stddef.h>
#include <sys/types.h>

#include "common/error.h"

#define CREDENTIALS_GROUPS_MAX 256

struct credentials {
	uid_t uid;
	gid_t gid;
	gid_t groups[CREDENTIALS_GROUPS_MAX];
	size_t n_groups;
};

/*
 * Without GROUP the user's groups of the user database are taken, and gid 0 for a number that it
 * does not know, as Docker does; with GROUP that one alone. SNAP_E_USAGE for an unknown name.
 */
int credentials_parse(const char *text, struct credentials *ret, struct snap_error *err);

/* become that user for good; capabilities go with uid 0 */
int credentials_apply(const struct credentials *credentials, struct snap_error *err);

/*
 * Act on files as that user until credentials_return(), so that what we make is theirs and what
 * they must not touch we do not touch for them. No effect for our own uid.
 */
int credentials_act_as(uid_t uid, gid_t gid, struct snap_error *err);
void credentials_return(void);

/* act as the owner of an existing file or folder, if we may; else as ourselves */
void credentials_act_as_owner(const char *path);

#endif
