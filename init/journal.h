/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_JOURNAL_H
#define SNAP_INIT_JOURNAL_H

/*
 * What a wake has put into the file system, noted by the worker in a memfd of PID 1's while it
 * works. A worker that fails takes its files away itself; one that is killed cannot, and a cold
 * boot must not find the log, lock or pid file of an engine that never was.
 *
 * journal_open() makes the memfd of a capture too, of which snapshot/recovery.h knows what is in
 * it.
 *
 * A record is 'F' (file) or 'D' (folder), an absolute path, NUL; newest last.
 */

/* the memfd, the caller's to close, or -errno */
int journal_open(void);

/* unlink and rmdir what is noted, newest first, and forget it; what is gone already is fine */
void journal_undo(int fd);

#endif
