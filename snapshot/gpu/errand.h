/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_ERRAND_H
#define SNAP_SNAPSHOT_GPU_ERRAND_H

/*
 * A function that may never return, on a thread of its own. Who started it may wait for a while
 * and then drop it: what it uses is freed when both have let go.
 */

#include <stddef.h>
#include <stdint.h>

struct errand;

typedef int (*errand_fn)(void *arg);

/* arg is copied; NULL when there is no memory or no thread (errno says which) */
struct errand *errand_start(errand_fn fn, const void *arg, size_t size);

/* 0 and *ret what fn returned; -ETIMEDOUT: it has not returned by then */
int errand_wait(struct errand *errand, uint64_t deadline_ns, int *ret);

/* what fn has made of arg; only after errand_wait() has answered 0 */
const void *errand_arg(const struct errand *errand);

void errand_drop(struct errand *errand); /* NULL is fine */

#endif
