/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_SCRATCH_H
#define SNAP_SNAPSHOT_TASK_SCRATCH_H

/*
 * Eight bytes of an attached thread's stack, below what it uses, for a system call to answer into.
 * They have their content back afterwards, and no mapping changes.
 */

#include <stdint.h>

#include "common/error.h"
#include "snapshot/task/injector.h"

/* within a writable private mapping that begins at start and holds the byte below sp */
uint64_t scratch_place(uint64_t start, uint64_t sp);

/* the same, looked up in the thread's mappings; 0: nowhere */
uint64_t scratch_find(const struct injector *injector);

/*
 * The system call number(what, at): 0 and *ret_value, what it returned, and *ret_word, what it
 * wrote. Negative errno: the thread is lost. Where the place cannot be read no call is made, and
 * *ret_value is -EFAULT.
 */
int scratch_ask(struct injector *injector, uint64_t at, long number, uint64_t what,
		int64_t *ret_value, uint64_t *ret_word, struct snap_error *err);

#endif
