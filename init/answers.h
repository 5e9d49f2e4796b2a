/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_ANSWERS_H
#define SNAP_INIT_ANSWERS_H

/*
 * What PID 1 answers on its control socket; docs/control.md has the requests and the members of
 * their answers.
 */

#include "common/json_writer.h"
#include "init/supervisor.h"
#include "init/worker.h"

struct answers {
	struct supervisor *supervisor;
	struct worker *worker;
};

/* a control_fn whose owner is a struct answers */
void answers_put(void *owner, const char *verb, const char *word, struct json_writer *reply);

#endif
