/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"
#include "snapshot/cold_boot.h"
#include "worker/jobs.h"
#include "worker/talk.h"

int job_watch(const struct worker_options *options, struct snap_error *err)
{
	struct engine_config config;
	struct engine engine;
	struct cold_boot_wait wait = {
		.engine = &engine,
		.root_pid = (pid_t)options->pid,
		.deadline_ns = deadline_after_ms(options->ready_timeout_ms),
	};
	uint64_t cold_boot_ms;
	int r = worker_options_engine(options, &config, err);

	if (r == 0)
		r = engine_init(&engine, &config, err);
	if (r == 0)
		r = cold_boot_await(&wait, &cold_boot_ms, err);
	if (r < 0) {
		talk_send(WORKER_MSG_FAILED, err->code, 0, 0, err->msg);
		return 1;
	}
	talk_send(WORKER_MSG_READY, SNAP_OK, 0, cold_boot_ms, NULL);
	return 0;
}
