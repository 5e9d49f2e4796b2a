/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/procfs.h"
#include "engine/release.h"
#include "worker/jobs.h"
#include "worker/talk.h"

static int is_alive(void *arg)
{
	const struct worker_options *options = arg;
	struct proc_stat stat;

	if (procfs_stat((pid_t)options->pid, &stat) < 0 || stat.state == 'Z')
		return -ESRCH;
	return 0;
}

/* a tree can have lost a part of it and still say that it is well: let it work */
static int ask_oracle(const struct engine *engine, uint64_t deadline_ns, struct snap_error *err)
{
	snap_cleanup_free char *answer = NULL;
	size_t size;

	return engine_has_oracle(engine)
		       ? engine_ask_oracle(engine, deadline_ns, &answer, &size, err)
		       : 0;
}

int job_probe(const struct worker_options *options, struct snap_error *err)
{
	uint64_t deadline = deadline_after_ms(options->timeout_ms ? options->timeout_ms : 5000);
	struct engine_config config;
	struct engine engine;
	int r = worker_options_engine(options, &config, err);

	if (r == 0)
		r = engine_init(&engine, &config, err);
	/* what only PID 1 hears cannot be asked again: being alive must do */
	if (r == 0 &&
	    (engine.ready_kind == ENGINE_READY_FD || engine.ready_kind == ENGINE_READY_NOTIFY))
		r = is_alive((void *)(uintptr_t)options);
	else if (r == 0)
		r = engine_wait_ready(&engine, deadline, is_alive, (void *)(uintptr_t)options, err);
	/* the capture may have broken between release and reclaim */
	if (r == 0)
		r = engine_reclaim_unsure(&engine, deadline, err);
	if (r == 0)
		r = ask_oracle(&engine, deadline, err);
	if (r == -ESRCH)
		(void)snap_fail_plain(err, SNAP_E_NOT_READY, ESRCH, "the engine has ended");
	if (r < 0) {
		talk_send(WORKER_MSG_FAILED, err->code, 0, 0, err->msg);
		return 1;
	}
	talk_send(WORKER_MSG_DONE, SNAP_OK, 0, 0, NULL);
	return 0;
}
