/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_WORKER_JOBS_H
#define SNAP_WORKER_JOBS_H

/* What a worker can be started for. Each returns the worker's exit status. */

#include "worker/worker_options.h"

int job_wake(const struct worker_options *options, struct snap_error *err);
int job_capture(const struct worker_options *options, struct snap_error *err);

/* how long does the cold boot take that has just begun? for a capture that may be asked for later
 */
int job_watch(const struct worker_options *options, struct snap_error *err);

/* does the engine still answer? asked after a capture that ended badly */
int job_probe(const struct worker_options *options, struct snap_error *err);

/* make a stopped tree whole that a capture has left with holes or foreign registers */
int job_recover(const struct worker_options *options, struct snap_error *err);

/* lock and checkpoint all that uses CUDA below a process, which is about to be killed */
int job_suspend(const struct worker_options *options, struct snap_error *err);

#endif
