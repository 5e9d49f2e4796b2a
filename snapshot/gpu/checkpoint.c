/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/checkpoint.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/device_copy.h"
#include "common/procfs.h"
#include "snapshot/gpu/restore_threads.h"
#include "snapshot/gpu/staging.h"
#include "snapshot/steps.h"

/* besides the copy (common/device_copy.h) */
#define CALL_MS	       60000U
#define STATE_MS       5000U
#define UNLOCK_MS      5000U /* it copies nothing and waits for nobody */
#define PUT_AWAY_MS    2000U
#define SETTLE_MS      15000U /* a quarter of what PID 1 has for a recovery; and the copy */
#define SETTLE_POLL_MS 10U
#define LOCK_SLACK_MS  2000U
#define COMPLETE_MS    1000U /* for a completion that another worker had asked for */

static uint64_t limited(const struct gpu_checkpoint *gpu, uint64_t deadline_ns)
{
	return gpu->end_ns > 0 && gpu->end_ns < deadline_ns ? gpu->end_ns : deadline_ns;
}

uint64_t gpu_checkpoint_bytes(const struct gpu_checkpoint *gpu)
{
	uint64_t bytes = gpu->storage_bytes;

	for (size_t i = 0; i < gpu->manifest->n_processes; i++)
		bytes += gpu->manifest->processes[i].staging_bytes;
	return bytes;
}

uint64_t gpu_put_away_ms(const struct gpu_checkpoint *gpu)
{
	return GPU_PUT_AWAY_MS + device_copy_ms(gpu_checkpoint_bytes(gpu));
}

static struct gpu_call call_of(const struct gpu_checkpoint *gpu, size_t i,
			       enum gpu_operation operation, struct restore_threads *threads)
{
	uint64_t bytes = gpu->manifest->processes[i].staging_bytes;

	return (struct gpu_call){
		.driver = gpu->driver,
		.operation = operation,
		.pid = gpu->manifest->processes[i].pid,
		.deadline_ns = limited(gpu, deadline_after_ms(CALL_MS + device_copy_ms(bytes))),
		.threads = threads,
	};
}

/* what cannot be read is taken for what cannot be mended */
static enum gpu_state state_by(const struct gpu_checkpoint *gpu, size_t i,
			       struct restore_threads *threads, uint64_t deadline_ns,
			       struct snap_error *err)
{
	struct gpu_call call = call_of(gpu, i, GPU_OPERATION_STATE, threads);
	enum gpu_state state = GPU_STATE_FAILED;
	int r;

	call.deadline_ns = limited(gpu, deadline_ns);
	r = gpu_call(&call, &state, err);
	if (r == 0 && state == GPU_STATE_FAILED)
		(void)snap_fail_plain(err, SNAP_E_GPU, EIO,
				      "process %d is lost: the CUDA driver says that it failed",
				      (int)call.pid);
	return r == 0 ? state : GPU_STATE_FAILED;
}

static enum gpu_state state_of(const struct gpu_checkpoint *gpu, size_t i,
			       struct restore_threads *threads, struct snap_error *err)
{
	/* one that does not answer must not take the time that the others need */
	return state_by(gpu, i, threads,
			deadline_after_ms(gpu->end_ns > 0 ? PUT_AWAY_MS : STATE_MS), err);
}

/* between begin and complete of CustomStorage: whoever began it has the only way on */
static bool is_begun(const struct gpu_checkpoint *gpu, enum gpu_state state)
{
	return gpu->by_storage &&
	       (state == GPU_STATE_CHECKPOINTING || state == GPU_STATE_RESTORING);
}

/* what another worker had saved it had gone on to complete */
static uint64_t complete_deadline(const struct gpu_checkpoint *gpu)
{
	return deadline_after_ms(gpu->content.load ? COMPLETE_MS : 0);
}

/* a call that another worker had made goes on without it: until then the state is one between */
static enum gpu_state settled_state(const struct gpu_checkpoint *gpu, size_t i,
				    struct restore_threads *threads, uint64_t deadline_ns)
{
	uint64_t settled_ns = complete_deadline(gpu);
	enum gpu_state state;

	do {
		state = state_by(gpu, i, threads, deadline_ns, NULL);
		if (is_begun(gpu, state) && clock_now_ns() >= settled_ns)
			break;
		if (state <= GPU_STATE_FAILED)
			break;
		restore_threads_serve(threads);
		(void)usleep(SETTLE_POLL_MS * 1000);
	} while (clock_now_ns() < deadline_ns);
	return state;
}

static int run_threads(const struct gpu_checkpoint *gpu, struct restore_threads *threads,
		       struct snap_error *err)
{
	int r = 0;

	*threads = (struct restore_threads){0};
	for (size_t i = 0; r == 0 && i < gpu->manifest->n_processes; i++)
		r = restore_threads_run(threads, gpu->manifest->processes[i].pid,
					gpu->manifest->processes[i].restore_tid, gpu->stopped, err);
	if (r < 0)
		(void)restore_threads_stop(threads, NULL);
	return r;
}

/* the first failure counts */
static int stop_threads(struct restore_threads *threads, int r, struct snap_error *err)
{
	int stopped = restore_threads_stop(threads, r < 0 ? NULL : err);

	return r < 0 ? r : stopped;
}

static int unlock_one(struct gpu_checkpoint *gpu, size_t i, struct restore_threads *threads,
		      struct snap_error *err)
{
	struct gpu_call call = call_of(gpu, i, GPU_OPERATION_UNLOCK, threads);
	int r;

	call.deadline_ns = deadline_after_ms(UNLOCK_MS);
	r = gpu_call(&call, NULL, err);
	if (r < 0)
		gpu->unsure = true;
	return r;
}

/* the one that failed may have been locked all the same: our deadline, not the driver's */
static void undo_lock(struct gpu_checkpoint *gpu, size_t failed)
{
	enum gpu_state state = state_of(gpu, failed, NULL, NULL);

	if (state == GPU_STATE_LOCKED)
		(void)unlock_one(gpu, failed, NULL, NULL);
	else if (state != GPU_STATE_RUNNING)
		gpu->unsure = true;
	for (size_t i = 0; i < failed; i++)
		(void)unlock_one(gpu, i, NULL, NULL);
}

/* -ECANCELED: not begun, or the process runs on, and we are asked to stop */
static int lock_one(const struct gpu_checkpoint *gpu, size_t i, uint32_t timeout_ms,
		    struct snap_error *err)
{
	struct gpu_call call = call_of(gpu, i, GPU_OPERATION_LOCK, NULL);
	int r;

	call.lock_timeout_ms = timeout_ms > 0 ? timeout_ms : 1;
	call.deadline_ns = deadline_after_ms(timeout_ms + LOCK_SLACK_MS);
	r = steps_stopped() ? -EBUSY : gpu_call(&call, NULL, err);
	if (r == -EBUSY && steps_stopped())
		return snap_fail_plain(err, SNAP_E_STOPPED, ECANCELED, "asked to stop");
	return r;
}

int gpu_checkpoint_lock(struct gpu_checkpoint *gpu, uint32_t timeout_ms, struct snap_error *err)
{
	for (size_t i = 0; i < gpu->manifest->n_processes; i++) {
		int r = lock_one(gpu, i, timeout_ms, err);

		if (r == 0)
			r = steps_fault(i == 0 ? "locked-first" : "locked-next", err);
		if (r < 0) {
			/* a call that was left behind may lock it yet */
			gpu->unsure |= r == -ETIMEDOUT;
			undo_lock(gpu, i);
			return r;
		}
	}
	gpu->locked = gpu->manifest->n_processes > 0;
	return 0;
}

static int restore_one(struct gpu_checkpoint *gpu, size_t i, const struct gpu_pair *pairs,
		       uint32_t n_pairs, struct restore_threads *threads, struct snap_error *err)
{
	struct gpu_call call = call_of(gpu, i, GPU_OPERATION_RESTORE, threads);
	int r;

	call.pairs = pairs;
	call.n_pairs = n_pairs;
	r = gpu_call(&call, NULL, err);
	/* the driver promises nothing after an error here, and memory may be lost until its end */
	if (r < 0)
		gpu->unsure = true;
	return r;
}

/* why: what the call has answered; one that was left behind may yet do it, unlocked or not */
static void undo_take(struct gpu_checkpoint *gpu, size_t failed, int why,
		      struct restore_threads *threads)
{
	enum gpu_state state = state_of(gpu, failed, threads, NULL);

	if (state == GPU_STATE_CHECKPOINTED)
		(void)restore_one(gpu, failed, NULL, 0, threads, NULL);
	else if (state != GPU_STATE_LOCKED || why == -ETIMEDOUT)
		gpu->unsure = true;
	for (size_t i = 0; i < failed; i++)
		(void)restore_one(gpu, i, NULL, 0, threads, NULL);
}

static int take_one(struct gpu_checkpoint *gpu, size_t i, struct restore_threads *threads,
		    struct snap_error *err)
{
	struct manifest_gpu_process *process = &gpu->manifest->processes[i];
	struct gpu_call call = call_of(gpu, i, GPU_OPERATION_CHECKPOINT, threads);
	struct address_ranges before, after = {0};
	int r = staging_look(process->pid, &before, err);

	if (r < 0)
		return r;
	/* how much will be copied is known before as a most, if at all */
	call.deadline_ns =
		gpu->take_deadline_ns + device_copy_ms(process->staging_bytes) * NS_PER_MS;
	r = gpu_call(&call, NULL, err);
	if (r == 0)
		r = staging_look(process->pid, &after, err);
	if (r == 0 && staging_difference(&before, &after, process->pid, gpu->manifest,
					 &process->staging_bytes) < 0)
		r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	address_ranges_done(&before);
	address_ranges_done(&after);
	return r == 0 ? steps_fault(i == 0 ? "checkpointed-first" : "checkpointed-next", err) : r;
}

static int take_by_driver(struct gpu_checkpoint *gpu, struct restore_threads *threads,
			  struct snap_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < gpu->manifest->n_processes; i++) {
		r = take_one(gpu, i, threads, err);
		if (r < 0)
			undo_take(gpu, i, r, threads);
	}
	return r;
}

static int begin_one(struct gpu_checkpoint *gpu, size_t i, struct gpu_call call,
		     struct snap_error *err)
{
	const struct gpu_places places = {gpu->manifest, call.pairs, call.n_pairs};
	struct gpu_storage_info *info = NULL;
	int r;

	call.ret_info = &info;
	r = gpu_call(&call, NULL, err);
	if (r == 0)
		r = gpu_storage_add(&gpu->storage, gpu->driver, call.pid, info, &places, err);
	if (r < 0)
		return r;
	if (call.operation == GPU_OPERATION_CHECKPOINT)
		return steps_fault(i == 0 ? "begun-first" : "begun-next", err);
	return steps_fault(i == 0 ? "returning-first" : "returning-next", err);
}

static int complete_all(struct gpu_checkpoint *gpu, const char *point,
			struct restore_threads *threads, struct snap_error *err)
{
	int first = 0;

	for (size_t i = 0; i < gpu->storage.n_begun; i++) {
		struct gpu_call call = {
			.driver = gpu->driver,
			.operation = GPU_OPERATION_COMPLETE,
			.pid = gpu->storage.begun[i].pid,
			.handle = gpu->storage.begun[i].handle,
			.deadline_ns = limited(gpu, deadline_after_ms(CALL_MS)),
			.threads = threads,
		};
		int r = gpu_call(&call, NULL, first < 0 ? NULL : err);

		if (r == 0 && i == 0)
			r = steps_fault(point, first < 0 ? NULL : err);
		first = first < 0 ? first : r;
	}
	if (first < 0)
		gpu->unsure = true;
	gpu_storage_done(&gpu->storage);
	return first;
}

/*
 * The first n processes. What is not loaded is not completed: whoever finds the process then must
 * see that it cannot go on.
 */
static int restore_by_storage(struct gpu_checkpoint *gpu, size_t n, struct gpu_places places,
			      struct restore_threads *threads, struct snap_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct gpu_call call = call_of(gpu, i, GPU_OPERATION_RESTORE, threads);

		call.pairs = places.pairs;
		call.n_pairs = places.n_pairs;
		r = begin_one(gpu, i, call, err);
	}
	if (r == 0)
		r = gpu->content.load(gpu->content.arg, &gpu->storage, err);
	if (r < 0)
		gpu->unsure = true;
	return r < 0 ? r : complete_all(gpu, "returned-first", threads, err);
}

/* completed all the same where it does not work: devices are closed then */
static int save_all(struct gpu_checkpoint *gpu, struct restore_threads *threads,
		    struct snap_error *err)
{
	int r = gpu->content.save(gpu->content.arg, &gpu->storage, err), completed;

	if (r < 0)
		gpu->unsure = true;
	completed = complete_all(gpu, "completed-first", threads, r < 0 ? NULL : err);
	return r < 0 ? r : completed;
}

/* those before the one that failed are begun: their content goes the whole way round */
static void undo_begin(struct gpu_checkpoint *gpu, size_t failed, int why,
		       struct restore_threads *threads)
{
	const struct gpu_places places = {gpu->manifest, NULL, 0};
	size_t n = gpu->storage.n_begun;

	/* it may be begun itself */
	if (n <= failed &&
	    (why == -ETIMEDOUT || state_of(gpu, failed, threads, NULL) != GPU_STATE_LOCKED))
		gpu->unsure = true;
	if (n > 0 && save_all(gpu, threads, NULL) == 0)
		(void)restore_by_storage(gpu, n, places, threads, NULL);
}

/* what was a guess of device memory so far: nothing has come into the processes */
static void note_windows(struct gpu_checkpoint *gpu)
{
	gpu->storage_bytes = 0;
	for (size_t i = 0; i < gpu->storage.n_windows; i++)
		gpu->storage_bytes += gpu->storage.windows[i].bytes;
	for (size_t i = 0; i < gpu->manifest->n_processes; i++)
		gpu->manifest->processes[i].staging_bytes = 0;
}

static int take_by_storage(struct gpu_checkpoint *gpu, struct restore_threads *threads,
			   struct snap_error *err)
{
	for (size_t i = 0; i < gpu->manifest->n_processes; i++) {
		struct gpu_call call = call_of(gpu, i, GPU_OPERATION_CHECKPOINT, threads);
		int r;

		call.deadline_ns = gpu->take_deadline_ns;
		r = begin_one(gpu, i, call, err);
		if (r < 0) {
			undo_begin(gpu, i, r, threads);
			return r;
		}
	}
	note_windows(gpu);
	return save_all(gpu, threads, err);
}

int gpu_checkpoint_take(struct gpu_checkpoint *gpu, struct snap_error *err)
{
	struct restore_threads threads;
	int r = run_threads(gpu, &threads, err);

	if (r < 0)
		return r;
	r = gpu->by_storage ? take_by_storage(gpu, &threads, err)
			    : take_by_driver(gpu, &threads, err);
	gpu->checkpointed = r == 0 && gpu->manifest->n_processes > 0;
	return stop_threads(&threads, r, err);
}

int gpu_checkpoint_restore(struct gpu_checkpoint *gpu, const struct gpu_pair *pairs,
			   uint32_t n_pairs, struct snap_error *err)
{
	struct restore_threads threads;
	int r;

	if (!gpu->checkpointed)
		return 0;
	r = run_threads(gpu, &threads, err);
	if (r < 0) {
		gpu->unsure = true;
		return r;
	}
	if (gpu->by_storage)
		r = restore_by_storage(gpu, gpu->manifest->n_processes,
				       (struct gpu_places){gpu->manifest, pairs, n_pairs}, &threads,
				       err);
	for (size_t i = 0; !gpu->by_storage && r == 0 && i < gpu->manifest->n_processes; i++) {
		r = restore_one(gpu, i, pairs, n_pairs, &threads, err);
		if (r == 0)
			r = steps_fault(i == 0 ? "restored-first" : "restored-next", err);
	}
	gpu->checkpointed = false;
	gpu->locked = true;
	return stop_threads(&threads, r, err);
}

int gpu_checkpoint_unlock(struct gpu_checkpoint *gpu, struct snap_error *err)
{
	struct restore_threads threads;
	int r;

	if (!gpu->locked)
		return 0;
	r = run_threads(gpu, &threads, err);
	if (r < 0) {
		gpu->unsure = true;
		return r;
	}
	for (size_t i = 0; r == 0 && i < gpu->manifest->n_processes; i++)
		r = unlock_one(gpu, i, &threads, err);
	gpu->locked = false;
	return stop_threads(&threads, r, err);
}

/* one step nearer to running; 1: it is there */
static int mend_step(struct gpu_checkpoint *gpu, size_t i, struct restore_threads *threads,
		     struct snap_error *err)
{
	enum gpu_state state = state_of(gpu, i, threads, err);

	switch (state) {
	case GPU_STATE_RUNNING:
		return 1;
	case GPU_STATE_LOCKED:
		return unlock_one(gpu, i, threads, err);
	case GPU_STATE_CHECKPOINTED:
		return restore_one(gpu, i, NULL, 0, threads, err);
	case GPU_STATE_FAILED:
		return -EIO;
	case GPU_STATE_CHECKPOINTING:
	case GPU_STATE_RESTORING:
		break;
	}
	return snap_fail_plain(err, SNAP_E_GPU, EPROTO,
			       "process %d is in state %d of the CUDA driver",
			       (int)gpu->manifest->processes[i].pid, (int)state);
}

static int fail_lost(const struct gpu_checkpoint *gpu, size_t i, struct snap_error *err)
{
	return snap_fail_plain(
		err, SNAP_E_GPU, ENODATA,
		"the device memory of process %d was on its way, and the CUDA driver "
		"has no way back from there",
		(int)gpu->manifest->processes[i].pid);
}

/*
 * From wherever they are to locked, all together. Whoever has nothing saved has nothing to give
 * back, and one that is begun waits for a handle that died with its worker.
 */
static int mend_by_storage(struct gpu_checkpoint *gpu, struct restore_threads *threads,
			   uint64_t settle_ns, struct snap_error *err)
{
	size_t n = gpu->manifest->n_processes, n_checkpointed = 0;

	for (size_t i = 0; i < n; i++) {
		enum gpu_state state = settled_state(gpu, i, threads, settle_ns);

		if (is_begun(gpu, state) || (state == GPU_STATE_CHECKPOINTED && !gpu->content.load))
			return fail_lost(gpu, i, err);
		n_checkpointed += state == GPU_STATE_CHECKPOINTED;
	}
	if (n_checkpointed == 0)
		return 0;
	/* content is loaded while all are begun, and completed in one go: no other mixture lasts */
	if (n_checkpointed < n)
		return fail_lost(gpu, 0, err);
	return restore_by_storage(gpu, n, (struct gpu_places){gpu->manifest, NULL, 0}, threads,
				  err);
}

/* all are restored before one is unlocked: first all to locked, then all to running */
static int mend(struct gpu_checkpoint *gpu, struct restore_threads *threads, struct snap_error *err)
{
	/* one call was under way at most, of whichever process */
	uint64_t bytes =
		gpu->manifest->n_processes > 0 ? gpu->manifest->processes[0].staging_bytes : 0;
	uint64_t settle_ns = deadline_after_ms(SETTLE_MS + device_copy_ms(bytes));
	size_t n = gpu->manifest->n_processes;
	int r = gpu->by_storage ? mend_by_storage(gpu, threads, settle_ns, err) : 0;

	for (size_t i = 0; !gpu->by_storage && r >= 0 && i < n; i++) {
		if (settled_state(gpu, i, threads, settle_ns) == GPU_STATE_CHECKPOINTED)
			r = restore_one(gpu, i, NULL, 0, threads, err);
	}
	for (size_t i = 0; r >= 0 && i < n; i++) {
		do {
			r = mend_step(gpu, i, threads, err);
		} while (r == 0);
	}
	return r < 0 ? r : 0;
}

static bool has_ended(pid_t tid)
{
	struct proc_stat stat;

	return procfs_stat(tid, &stat) < 0 || stat.state == 'Z' || stat.state == 'X';
}

/* how many: a process that has ended, or executed another program, needs nothing any more */
static size_t forget_ended(struct manifest_gpu *manifest)
{
	size_t kept = 0, had = manifest->n_processes;

	for (size_t i = 0; i < had; i++) {
		if (!has_ended((pid_t)manifest->processes[i].restore_tid))
			manifest->processes[kept++] = manifest->processes[i];
	}
	manifest->n_processes = kept;
	return had - kept;
}

int gpu_checkpoint_mend(struct gpu_checkpoint *gpu, struct snap_error *err)
{
	struct restore_threads threads;
	int r;

	if (gpu->by_storage)
		(void)forget_ended(gpu->manifest);
	/* the rest of the tree may live on without one */
	do {
		r = run_threads(gpu, &threads, err);
		if (r == 0)
			r = stop_threads(&threads, mend(gpu, &threads, err), err);
	} while (r < 0 && gpu->storage.n_begun == 0 && forget_ended(gpu->manifest) > 0);
	return r;
}

/* those that can be locked are; they stand still afterwards, for no thread may run from then on */
static void lock_and_stop(struct gpu_checkpoint *gpu)
{
	struct restore_threads threads;

	if (run_threads(gpu, &threads, NULL) < 0)
		return;
	(void)complete_all(gpu, "ended-first", &threads, NULL);
	for (size_t i = 0; i < gpu->manifest->n_processes; i++) {
		struct gpu_call call = call_of(gpu, i, GPU_OPERATION_LOCK, &threads);

		call.lock_timeout_ms = PUT_AWAY_MS;
		call.deadline_ns = limited(gpu, deadline_after_ms(PUT_AWAY_MS + LOCK_SLACK_MS));
		if (state_of(gpu, i, &threads, NULL) == GPU_STATE_RUNNING)
			(void)gpu_call(&call, NULL, NULL);
	}
	(void)restore_threads_stop(&threads, NULL);
	for (size_t i = 0; i < gpu->manifest->n_processes; i++)
		(void)kill((pid_t)gpu->manifest->processes[i].pid, SIGSTOP);
	gpu->stopped = true;
}

static int put_one_away(struct gpu_checkpoint *gpu, size_t i, struct restore_threads *threads,
			struct snap_error *err)
{
	struct gpu_call call = call_of(gpu, i, GPU_OPERATION_CHECKPOINT, threads);
	enum gpu_state state = state_of(gpu, i, threads, err);

	if (state == GPU_STATE_CHECKPOINTED)
		return 0;
	/* how much it is may not be known: it has what there is */
	call.deadline_ns = gpu->end_ns;
	if (state == GPU_STATE_LOCKED)
		return gpu_call(&call, NULL, err);
	if (state == GPU_STATE_RUNNING)
		return snap_fail_plain(err, SNAP_E_GPU, EBUSY,
				       "the CUDA driver does not lock process %d", (int)call.pid);
	return -EIO;
}

int gpu_checkpoint_put_away(struct gpu_checkpoint *gpu, uint64_t deadline_ns,
			    struct snap_error *err)
{
	struct restore_threads threads;
	int first;

	gpu->end_ns = deadline_ns;
	lock_and_stop(gpu);
	first = run_threads(gpu, &threads, err);
	if (first < 0)
		return first;
	for (size_t i = 0; i < gpu->manifest->n_processes; i++) {
		int r = put_one_away(gpu, i, &threads, first < 0 ? NULL : err);

		first = first < 0 ? first : r;
	}
	return stop_threads(&threads, first, err);
}

void gpu_checkpoint_done(struct gpu_checkpoint *gpu)
{
	gpu_storage_done(&gpu->storage);
}
