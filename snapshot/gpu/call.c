/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/call.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/clock.h"
#include "snapshot/gpu/errand.h"

/* how often threads that we trace are looked after while the driver works */
#define SERVE_MS 2U

/* all that the call's thread uses: its starter may be gone before it returns */
struct request {
	struct gpu_driver driver;
	enum gpu_operation operation;
	int pid;
	uint32_t lock_timeout_ms;
	uint32_t n_pairs;
	struct gpu_pair pairs[GPU_PAIRS_MAX];
	int value; /* the answer: a state, or a thread */
	bool by_storage;
	struct gpu_storage_info *info;
	void *handle;
};

static const char *const operation_names[GPU_OPERATION_MAX_] = {
	[GPU_OPERATION_FIND] = "say whether it is used by",
	[GPU_OPERATION_STATE] = "read the state of",
	[GPU_OPERATION_LOCK] = "lock",
	[GPU_OPERATION_CHECKPOINT] = "checkpoint",
	[GPU_OPERATION_RESTORE] = "restore",
	[GPU_OPERATION_UNLOCK] = "unlock",
	[GPU_OPERATION_COMPLETE] = "complete",
};

static int run(void *arg)
{
	struct request *request = arg;
	const struct gpu_driver *driver = &request->driver;
	struct gpu_lock_args lock = {.timeout_ms = request->lock_timeout_ms};
	struct gpu_restore_args restore = {
		.pairs = request->n_pairs > 0 ? request->pairs : NULL,
		.n_pairs = request->n_pairs,
		.ret_info = request->by_storage ? &request->info : NULL,
	};
	struct gpu_checkpoint_args checkpoint = {.ret_info = restore.ret_info};
	bool is_plain = !request->by_storage && request->n_pairs == 0;

	switch (request->operation) {
	case GPU_OPERATION_FIND:
		return driver->get_restore_thread(request->pid, &request->value);
	case GPU_OPERATION_STATE:
		return driver->get_state(request->pid, &request->value);
	case GPU_OPERATION_LOCK:
		return driver->lock(request->pid, &lock);
	case GPU_OPERATION_CHECKPOINT:
		return driver->checkpoint(request->pid, request->by_storage ? &checkpoint : NULL);
	case GPU_OPERATION_RESTORE:
		return driver->restore(request->pid, is_plain ? NULL : &restore);
	case GPU_OPERATION_UNLOCK:
		return driver->unlock(request->pid, NULL);
	case GPU_OPERATION_COMPLETE:
		return driver->storage.complete(request->handle);
	case GPU_OPERATION_MAX_:
		break;
	}
	return GPU_RESULT_INVALID_VALUE;
}

static int errno_of(int result)
{
	switch (result) {
	case GPU_RESULT_NOT_INITIALIZED:
	case GPU_RESULT_OPERATING_SYSTEM:
		return ESRCH;
	case GPU_RESULT_ILLEGAL_STATE:
		return EPROTO;
	case GPU_RESULT_NOT_READY:
		return EBUSY;
	case GPU_RESULT_NOT_PERMITTED:
		return EPERM;
	case GPU_RESULT_NOT_SUPPORTED:
		return ENOSYS;
	case GPU_RESULT_OUT_OF_MEMORY:
		return ENOMEM;
	default:
		return EIO;
	}
}

static int await_answer(const struct gpu_call *call, struct errand *errand, int *ret_result)
{
	for (;;) {
		uint64_t until_ns = call->threads ? deadline_after_ms(SERVE_MS) : call->deadline_ns;
		int r;

		if (until_ns > call->deadline_ns)
			until_ns = call->deadline_ns;
		r = errand_wait(errand, until_ns, ret_result);
		if (r == 0 || clock_now_ns() >= call->deadline_ns)
			return r;
		restore_threads_serve(call->threads);
	}
}

/* 0 with *ret_result, the driver's word, and *ret_value; negative errno: there is none */
static int ask(const struct gpu_call *call, int *ret_result, int *ret_value, struct snap_error *err)
{
	struct request request = {
		.driver = *call->driver,
		.operation = call->operation,
		.pid = (int)call->pid,
		.lock_timeout_ms = call->lock_timeout_ms,
		.n_pairs = call->n_pairs,
		.by_storage = call->ret_info != NULL,
		.handle = call->handle,
	};
	struct errand *errand;
	int r;

	if (call->n_pairs > GPU_PAIRS_MAX)
		return snap_fail_plain(err, SNAP_E_GPU, E2BIG, "more than %d GPUs", GPU_PAIRS_MAX);
	if (call->n_pairs > 0)
		memcpy(request.pairs, call->pairs, call->n_pairs * sizeof(request.pairs[0]));
	errand = errand_start(run, &request, sizeof(request));
	if (!errand)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot start a thread");
	r = await_answer(call, errand, ret_result);
	if (r == 0)
		*ret_value = ((const struct request *)errand_arg(errand))->value;
	if (r == 0 && call->ret_info)
		*call->ret_info = ((const struct request *)errand_arg(errand))->info;
	errand_drop(errand);
	if (r < 0)
		return snap_fail_plain(err, SNAP_E_GPU, ETIMEDOUT,
				       "the CUDA driver does not %s process %d: no answer",
				       operation_names[call->operation], (int)call->pid);
	return 0;
}

int gpu_call(const struct gpu_call *call, enum gpu_state *ret_state, struct snap_error *err)
{
	int result = GPU_RESULT_OK, value = 0;
	int r = ask(call, &result, &value, err);
	char number[16];

	if (r < 0)
		return r;
	if (result != GPU_RESULT_OK)
		return snap_fail_plain(
			err, SNAP_E_GPU, errno_of(result),
			"the CUDA driver does not %s process %d: %s",
			operation_names[call->operation], (int)call->pid,
			gpu_driver_result_name(call->driver, result, number, sizeof(number)));
	if (ret_state)
		*ret_state = (enum gpu_state)value;
	return 0;
}

int gpu_call_find(const struct gpu_driver *driver, pid_t pid, uint64_t deadline_ns, int *ret_tid,
		  struct snap_error *err)
{
	const struct gpu_call call = {
		.driver = driver,
		.operation = GPU_OPERATION_FIND,
		.pid = pid,
		.deadline_ns = deadline_ns,
	};
	int result = GPU_RESULT_OK;
	int r = ask(&call, &result, ret_tid, err);

	return r < 0 ? r : result == GPU_RESULT_OK;
}
