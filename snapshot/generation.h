/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GENERATION_H
#define SNAP_SNAPSHOT_GENERATION_H

/*
 * A generation's folder in a store, and who uses it: a shared flock(2) on the folder says "I read
 * this or make it", an exclusive one "I remove this" (docs/formats/store.md 5). On file systems
 * without such locks nobody is kept from anything.
 */

#include <stdbool.h>

#define GENERATION_PREFIX     "gen-"
#define GENERATION_NUMBER_MAX 999999999UL

/* the N of "gen-N", 0 for what is no generation's name */
unsigned long generation_number(const char *name);

/*
 * Keep the generation from being removed by gc and by publishing, for as long as gen_fd is open
 * (and whatever descriptor was duplicated from it). -ENOENT when it is being removed or is gone.
 */
int generation_hold(int gen_fd);

/* is gen_fd, which generation_hold() was called for, really held? Not where there are no locks */
bool generation_is_locked(int gen_fd);

/* 0 when nobody holds it; then nobody can until gen_fd is closed. -EBUSY when somebody does */
int generation_claim(int gen_fd);

/* remove it, whoever holds it; its manifest first, so that the rest never looks like a snapshot */
int generation_remove(int store_fd, const char *name);

/* the same unless somebody holds it: -EBUSY */
int generation_remove_unused(int store_fd, const char *name);

#endif
