/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_READBACK_H
#define SNAP_SNAPSHOT_PAGES_READBACK_H

/*
 * Check chunks that have come into a process without passing through ours: threads read them back
 * in pieces that stay in the cache, and hash them. A chunk that holds what it should is noted in
 * fill->filled.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/error.h"
#include "snapshot/pages/fill_internal.h"

struct readback {
	struct fill *fill;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t changed;
	uint32_t *queue; /* chunks, room for all */
	size_t n_in;
	size_t n_out;
	bool closed;
	int result;
	struct snap_error err;
	/* the caller's */
	pthread_t threads[FILL_THREADS_MAX];
	unsigned int n_threads;
	atomic_bool failed; /* a chunk is damaged: nobody wants the rest */
};

/* fill->filled is there; 0 or -ENOMEM */
int readback_start(struct readback *readback, struct fill *fill);

/* a chunk has come; with verify=header it is believed */
void readback_push(struct readback *readback, uint32_t chunk);

/*
 * Check what is left and end the threads. SNAP_E_CORRUPT: a chunk is not what it was. One that
 * cannot be read is not noted as filled, and that is all.
 */
int readback_finish(struct readback *readback, struct snap_error *err);

#endif
