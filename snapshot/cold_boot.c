/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/cold_boot.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/procfs.h"
#include "snapshot/manifest.h"
#include "snapshot/steps.h"
#include "snapshot/task/sockets.h"
#include "snapshot/task/tree.h"

static int root_is_alive(void *arg)
{
	const struct cold_boot_wait *wait = arg;
	struct proc_stat stat;

	if (steps_stopped())
		return -ECANCELED;
	if (procfs_stat(wait->root_pid, &stat) < 0 || stat.state == 'Z')
		return -ESRCH;
	return 0;
}

/* what answered must be the engine, not somebody who had the port before */
static int check_listener(const struct cold_boot_wait *wait, struct snap_error *err)
{
	const struct engine *engine = wait->engine;
	struct task_tree tree = {0};
	struct manifest found;
	bool is_ours = false;
	int r;

	if (engine->ready_kind != ENGINE_READY_HTTP && engine->ready_kind != ENGINE_READY_TCP)
		return 0;
	manifest_init(&found);
	r = task_tree_collect(wait->root_pid, &tree, err);
	if (r == 0)
		r = sockets_listeners(&tree, &found, err);
	for (size_t i = 0; i < found.n_listeners; i++)
		is_ours |= (int)found.listeners[i].port == engine->ready.port &&
			   strncmp(found.listeners[i].protocol, "tcp", 3) == 0;
	if (r == 0 && !is_ours)
		r = snap_fail_plain(err, SNAP_E_NOT_READY, EADDRINUSE,
				    "%s:%d is answered by something outside the engine's tree",
				    engine->ready.host, engine->ready.port);
	task_tree_done(&tree);
	manifest_done(&found);
	return r;
}

static int wait_ready(const struct cold_boot_wait *wait, struct snap_error *err)
{
	const struct engine *engine = wait->engine;

	if (engine->ready_kind != ENGINE_READY_FD && engine->ready_kind != ENGINE_READY_NOTIFY)
		return engine_wait_ready(engine, wait->deadline_ns, root_is_alive,
					 (void *)(uintptr_t)wait, err);
	if (!wait->hear)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "only PID 1 hears when this engine is ready");
	return wait->hear(wait->arg, wait->deadline_ns, err);
}

static int since_start(pid_t pid, uint64_t *ret_ms, struct snap_error *err)
{
	struct proc_stat stat;
	struct timespec boot;
	uint64_t now_ms, started_ms;

	if (procfs_stat(pid, &stat) < 0)
		return snap_fail_plain(err, SNAP_E_NOT_READY, ESRCH, "the engine is gone");
	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	now_ms = (uint64_t)boot.tv_sec * 1000 + (uint64_t)boot.tv_nsec / NS_PER_MS;
	started_ms = stat.start_ticks * 1000 / (uint64_t)sysconf(_SC_CLK_TCK);
	*ret_ms = now_ms > started_ms ? now_ms - started_ms : 1;
	return 0;
}

int cold_boot_await(const struct cold_boot_wait *wait, uint64_t *ret_ms, struct snap_error *err)
{
	int r = wait_ready(wait, err);

	if (r == -ESRCH)
		return snap_fail_plain(err, SNAP_E_NOT_READY, ESRCH,
				       "the engine ended before it was ready");
	if (r == 0)
		r = check_listener(wait, err);
	return r == 0 ? since_start(wait->root_pid, ret_ms, err) : r;
}
