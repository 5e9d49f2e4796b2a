/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting until nothing is open that CRIU would refuse, and until there is room. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/capture_internal.h"
#include "snapshot/cgroup.h"
#include "snapshot/room.h"
#include "snapshot/task/residence.h"

#define QUIET_POLL_MS	  20U
#define GPU_START_MS	  60000U /* cuInit on a machine of eight GPUs: 2.7 s measured */
#define SPACE_SLACK_BYTES (64ULL << 20)

int capture_audit(const struct capture *c, const struct task_tree *tree,
		  struct audit_report *report, struct snap_error *err)
{
	struct audit_rights rights = {
		.admin = !c->m.unprivileged,
		.uid = geteuid(),
		.init_pid = getppid(),
		.self_pid = getpid(),
		.device_pids = c->gpu.checkpoint.checkpointed ? NULL : c->gpu.pids,
		.n_device_pids = c->gpu.checkpoint.checkpointed ? 0 : c->m.gpu.n_processes,
	};

	return audit_tree(tree, &rights, report, err);
}

int capture_audit_once(struct capture *c, struct audit_report *report, uint64_t *ret_resident,
		       struct snap_error *err)
{
	struct task_tree tree = {0};
	int r = task_tree_collect(c->config->root_pid, &tree, err);

	if (r == 0)
		r = capture_audit(c, &tree, report, err);
	*ret_resident = tree.resident_bytes;
	task_tree_done(&tree);
	return r;
}

/* 0 with the last audit's findings: none, lasting ones, or the deadline has passed */
int capture_await_quiet(struct capture *c, uint64_t deadline_ns, unsigned int poll_ms,
			struct audit_report *report, uint64_t *ret_resident, struct snap_error *err)
{
	for (;;) {
		int r = capture_audit_once(c, report, ret_resident, err);

		if (r < 0)
			return r;
		if (report->n == 0 || !audit_only_transient(report) ||
		    deadline_left_ms(deadline_ns) == 0)
			return 0;
		if (steps_stopped())
			return snap_fail_plain(err, SNAP_E_STOPPED, ECANCELED, "asked to stop");
		(void)usleep(poll_ms * 1000);
	}
}

/* with NET_ADMIN an open connection is dumped, and closed at the wake */
bool capture_is_acceptable(const struct capture *c, const struct audit_report *report)
{
	return report->n == 0 || (audit_only_connections(report) && !c->m.unprivileged);
}

int capture_refuse(const struct capture *c, const struct audit_report *report,
		   struct snap_error *err)
{
	char text[900];
	int r;

	audit_format(report, text, sizeof(text));
	r = snap_fail_plain(err, SNAP_E_UNSNAPSHOTABLE, EBUSY, "%s", text);
	/* devices that are open may be so because their driver could not be asked */
	if (c->gpu.why.msg[0])
		snap_error_prefix(err, "%s", c->gpu.why.msg);
	return r;
}

/* the kernel kills whom it likes where it runs out in the middle: asked while all still run */
static int check_memory(struct capture *c, struct snap_error *err)
{
	struct room_load load = {
		.store_is_memory = store_is_memory(&c->store),
	};
	uint64_t device_bytes = capture_gpu_device_bytes(&c->gpu);
	snap_cleanup_close int root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t limit, available, left;
	struct task_tree tree = {0};
	int r = root_fd < 0 ? snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot open '/'")
			    : task_tree_collect(c->config->root_pid, &tree, err);

	load.stored_bytes = residence_bytes(&tree);
	/* past the processes it is only stored */
	if (!c->config->gpu_storage)
		load.device_bytes = device_bytes;
	else if (__builtin_add_overflow(load.stored_bytes, device_bytes, &load.stored_bytes))
		load.stored_bytes = UINT64_MAX;
	task_tree_done(&tree);
	if (r == 0)
		r = cgroup_memory(root_fd, &limit, &available, err);
	if (r == 0)
		r = room_check(&load, limit, available, &left, err);
	if (r == 0)
		c->copies_max = load.store_is_memory ? left : UINT64_MAX;
	return r;
}

static int reserve_device(struct capture *c, struct snap_error *err)
{
	const struct capture_gpu_place place = {
		.gen_fd = c->gen_fd,
		.store_path = c->config->store_path,
		.generation = c->result->generation,
		.journal = &c->journal,
		.compress = c->config->compress,
	};

	return capture_gpu_reserve(&c->gpu, &place, err);
}

/* wait for open connections to end; name what CRIU would refuse */
int capture_step_quiet(void *context, struct snap_error *err)
{
	struct capture *c = context;
	struct audit_report report;
	uint64_t resident, stored;
	int r = capture_gpu_await(&c->gpu, c->config->root_pid, deadline_after_ms(GPU_START_MS),
				  err);

	if (r == 0)
		r = capture_await_quiet(c, deadline_after_ms(c->config->quiet_timeout_ms),
					QUIET_POLL_MS, &report, &resident, err);
	if (r < 0)
		return r;
	if (!capture_is_acceptable(c, &report))
		return capture_refuse(c, &report, err);
	c->is_idle = report.n == 0;
	c->n_sockets = report.n_sockets;
	/* device memory will be stored too */
	if (__builtin_add_overflow(resident, capture_gpu_device_bytes(&c->gpu), &stored) ||
	    __builtin_add_overflow(stored, SPACE_SLACK_BYTES, &stored))
		stored = UINT64_MAX;
	r = store_check_space(&c->store, stored, err);
	if (r == 0)
		r = check_memory(c, err);
	return r < 0 ? r : reserve_device(c, err);
}
