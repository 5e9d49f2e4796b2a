/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TEMPORARY_H
#define SNAP_SNAPSHOT_TEMPORARY_H

#define FOLDER_PATH_MAX 96

/*
 * A folder for a moment, below place: made 0700, or an old one of the same name if it is ours and
 * nobody else's. One name a user and purpose, so that what a killed process leaves does not pile
 * up. A descriptor, the caller's to close (and the folder's to remove), or -errno; ret_path is set
 * in either case.
 */
int temporary_folder(const char *place, const char *purpose, char ret_path[FOLDER_PATH_MAX]);

#endif
