/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_USER_NAMESPACE_H
#define SNAP_COMMON_USER_NAMESPACE_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Called in a user namespace that was just made, where nobody is mapped yet: uid and gid, which
 * must be those that its maker had, become root's in it. Nobody else is mapped. 0 or -errno.
 */
int user_namespace_map_root(uid_t uid, gid_t gid);

/* what stat() says of a file whose owner is not mapped where we are; also the id of nobody */
#define USER_NAMESPACE_OVERFLOW_UID 65534

/* is there a user of that id in our namespace? Where it cannot be found out: yes */
bool user_namespace_has(uid_t uid);

#endif
