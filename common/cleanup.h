/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_CLEANUP_H
#define SNAP_COMMON_CLEANUP_H

/*
 * Ownership at the line where it changes: cleanup attributes for locals and a macro that takes a
 * pointer out of its owner. Every cleanup function keeps errno and leaves its variable empty.
 */

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define snap_cleanup(fn) __attribute__((cleanup(fn)))

static inline void snap_cleanup_free_fn(void *p)
{
	void **pp = p;
	int saved = errno;

	free(*pp);
	*pp = NULL;
	errno = saved;
}

static inline void snap_cleanup_fclose_fn(FILE **fp)
{
	int saved = errno;

	if (*fp)
		(void)fclose(*fp);
	*fp = NULL;
	errno = saved;
}

static inline void snap_cleanup_closedir_fn(DIR **dir)
{
	int saved = errno;

	if (*dir)
		(void)closedir(*dir);
	*dir = NULL;
	errno = saved;
}

#define snap_cleanup_free     snap_cleanup(snap_cleanup_free_fn)
#define snap_cleanup_fclose   snap_cleanup(snap_cleanup_fclose_fn)
#define snap_cleanup_closedir snap_cleanup(snap_cleanup_closedir_fn)

/* the value of ptr; ptr itself becomes NULL */
#define TAKE_PTR(ptr)                                \
	({                                           \
		__typeof__(ptr) *take_pp_ = &(ptr);  \
		__typeof__(ptr) take_p_ = *take_pp_; \
		*take_pp_ = NULL;                    \
		take_p_;                             \
	})

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
