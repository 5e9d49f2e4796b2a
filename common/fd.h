/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_FD_H
#define SNAP_COMMON_FD_H

/*
 * Descriptors are owned by name: FD_NONE marks an empty owner, snap_cleanup_close frees a local
 * one, TAKE_FD moves it on. close() is called once and EINTR is ignored, because on Linux the
 * descriptor is gone either way.
 */

#include <errno.h>
#include <stdbool.h>

#include "common/cleanup.h"

#define FD_NONE (-EBADF)

/* close fd if it is one; keeps errno; returns FD_NONE, so that "x = fd_close(x)" empties x */
int fd_close(int fd);

static inline void snap_cleanup_close_fn(int *fd)
{
	*fd = fd_close(*fd);
}

#define snap_cleanup_close snap_cleanup(snap_cleanup_close_fn)

/* the value of fd; fd itself becomes FD_NONE */
#define TAKE_FD(fd)                        \
	({                                 \
		int *take_fdp_ = &(fd);    \
		int take_fd_ = *take_fdp_; \
		*take_fdp_ = FD_NONE;      \
		take_fd_;                  \
	})

/* open /dev/null in place of each of 0, 1, 2 that is closed; returns a bit mask of those */
int fd_fill_stdio(void);

/* duplicate fd to a close-on-exec number >= min; the new descriptor or -errno */
int fd_dup_above(int fd, int min);

int fd_set_cloexec(int fd, bool on);
int fd_set_nonblock(int fd, bool on);
bool fd_is_cloexec(int fd);

/* close every descriptor >= first that is not in keep (n entries, any order); 0 or -errno */
int fd_close_from_except(int first, const int *keep, unsigned int n);

#endif
