/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_RIGHTS_H
#define SNAP_CLI_RIGHTS_H

/*
 * Capability sets of the containers that a snapshot is made for. A snapshot taken with more rights
 * than the wake has cannot be restored, so an engine is captured under the rights it will have.
 */

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

enum rights_set {
	RIGHTS_DOCKER, /* Docker's default capabilities and CHECKPOINT_RESTORE */
	RIGHTS_K8S,    /* the same: containerd's default equals Docker's */
	RIGHTS_FULL,   /* everything we hold */
	RIGHTS_MAX_,
};

#define RIGHTS_WORDS	"docker|k8s|full" /* in the order above */
#define RIGHTS_TEXT_MAX 1024		  /* all names, with commas */

/* one of RIGHTS_WORDS; SNAP_E_USAGE naming `option` for another word */
int rights_parse(const char *word, const char *option, enum rights_set *ret,
		 struct snap_error *err);
const char *rights_name(enum rights_set set);

/* what this thread can hand on: permitted and in the bounding set */
int rights_held(uint64_t *ret, struct snap_error *err);

/* the set as a mask; `held` is what there is to choose from */
uint64_t rights_mask(enum rights_set set, uint64_t held);

/* capabilities of the set that `held` lacks; 0 for RIGHTS_FULL */
uint64_t rights_missing(enum rights_set set, uint64_t held);

/*
 * Leave this thread, and every program it executes as uid 0, exactly `mask`: bounding, permitted
 * and effective set; inheritable and ambient become empty.
 */
int rights_limit(uint64_t mask, struct snap_error *err);

/* "cap_chown,cap_kill", ascending; "none" for 0 */
void rights_format(uint64_t mask, char *buf, size_t size);

#endif
