/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_BENEATH_H
#define SNAP_SNAPSHOT_BENEATH_H

/*
 * Opening "criu/pages-1.img" below a folder without following a symbolic link in any component.
 * Component by component, because openat2(2) is missing or forbidden in many containers.
 */

/* descriptor (close-on-exec) or -errno; name must keep rule_relative_path() */
int beneath_open(int dir_fd, const char *name, int flags);

#endif
