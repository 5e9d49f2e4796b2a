/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TRUSTED_H
#define SNAP_SNAPSHOT_TRUSTED_H

/*
 * Whoever can write to a snapshot decides what is restored, with our rights. So nothing in it may
 * belong to anybody but us and root, or be writable for others.
 */

#include <sys/stat.h>

#include "common/error.h"

/* 0, or -EPERM with SNAP_E_CORRUPT that names path and the remedy */
int trusted_check(const struct stat *st, const char *path, struct snap_error *err);

/* the same for an open file or folder */
int trusted_check_fd(int fd, const char *path, struct snap_error *err);

/*
 * A folder and all below it, three levels at most: only files and folders, no links, and each as
 * trusted_check() wants it. name is for messages.
 */
int trusted_check_tree(int dir_fd, const char *name, struct snap_error *err);

#endif
