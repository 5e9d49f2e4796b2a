/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_CONTAINER_H
#define SNAP_CLI_CONTAINER_H

/*
 * What a container is to a snapshot, and no more: snapinit as PID 1 of new pid and mount
 * namespaces, under the capabilities and the user of the container to come. Files, network,
 * environment and working folder are the host's.
 */

#include <signal.h>

#include "cli/credentials.h"
#include "cli/rights.h"
#include "common/error.h"
#include "common/pidref.h"

struct container_spec {
	char *const *argv; /* argv[0] is the path of snapinit */
	enum rights_set rights;
	const struct credentials *user; /* NULL: as we are */
	int stdio[3];			/* FD_NONE: ours */
	const sigset_t *mask;		/* signal mask of PID 1 */
};

/* of 0, 1, 2 these (a mask) were closed when we started, and are so in a container too */
void container_set_closed_stdio(int mask);

/*
 * 0: *ret is PID 1, our child and the caller's to reap; it dies with us. SNAP_E_PREFLIGHT when a
 * right is missing or snapinit cannot be executed.
 */
int container_start(const struct container_spec *spec, struct pidref *ret, struct snap_error *err);

#endif
