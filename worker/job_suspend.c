/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"
#include "snapshot/gpu/suspend.h"
#include "worker/jobs.h"
#include "worker/talk.h"

int job_suspend(const struct worker_options *options, struct snap_error *err)
{
	uint64_t ms = options->timeout_ms > 0 ? options->timeout_ms : GPU_PUT_AWAY_MS;
	size_t n = 0;
	int r = gpu_suspend((pid_t)options->pid, deadline_after_ms(ms), &n, err);

	if (r < 0) {
		talk_send(WORKER_MSG_FAILED, err->code, 0, 0, err->msg);
		return 1;
	}
	talk_send(WORKER_MSG_DONE, SNAP_OK, 0, n, NULL);
	return 0;
}
