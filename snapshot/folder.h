/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_FOLDER_H
#define SNAP_SNAPSHOT_FOLDER_H

/* A folder with all that is in it, at most FOLDER_DEPTH_MAX deep; links are never followed. */

#define FOLDER_DEPTH_MAX 8

/* remove name below dir_fd, file or folder; stays on its file system. 0 (also if absent), -errno */
int folder_remove(int dir_fd, const char *name);

/*
 * Make every file and folder durable, and readable for its owner only. Files first, so that a
 * folder's entry never names what is not there. 0 or -errno.
 */
int folder_sync(int fd);

/* call fn for each entry but "." and ".."; stops at the first non-zero and returns it, or -errno */
typedef int (*folder_entry_fn)(int dir_fd, const char *name, void *arg);
int folder_each(int dir_fd, folder_entry_fn fn, void *arg);

#endif
