/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order matters in two places. Everything slow that does not need the tree to stand still
 * (CRIU's start, kernel probes, space check, audit) comes before the freeze. What must fit
 * together (CRIU's images, copies of files, the list of pids and listeners) is taken while CRIU
 * holds the tree: at its post-dump notification all images are written and every task is still
 * stopped, and refusing there makes CRIU fail and let the tree run on.
 */
#include "snapshot/capture.h"

#include "common/fd.h"
#include "snapshot/capture_internal.h"

static const struct step capture_steps[] = {
	{"engine", capture_step_engine, NULL},
	{"rights", capture_step_rights, NULL},
	{"ready", capture_step_ready, NULL},
	{"gpu-start", capture_step_gpu_start, NULL},
	{"warm-up", capture_step_warm_up, NULL},
	{"oracle", capture_step_oracle, NULL},
	{"store", capture_step_store, capture_undo_store},
	{"quiet", capture_step_quiet, NULL},
	{"release", capture_step_release, capture_undo_release},
	{"freeze", capture_step_freeze, capture_undo_freeze},
	{"gpu", capture_step_gpu, capture_undo_gpu},
	{"evacuate", capture_step_evacuate, capture_undo_evacuate},
	{"dump", capture_step_dump, NULL},
	{"resume", capture_step_resume, NULL},
	{"reclaim", capture_step_reclaim, NULL},
	{"seal", capture_step_seal, NULL},
	{"verify", capture_step_verify, NULL},
	{"publish", capture_step_publish, NULL},
};

int capture_run(const struct capture_config *config, struct capture_result *ret,
		struct snap_error *err)
{
	struct capture c = {
		.config = config,
		.result = ret,
		.session = CRIU_SESSION_NONE,
		.store = {.fd = FD_NONE},
		.gen_fd = FD_NONE,
		.kdat = {.dir_fd = FD_NONE},
		.journal = {.fd = config->journal_fd},
		.gpu = {.by_storage = config->gpu_storage},
	};
	int r;

	*ret = (struct capture_result){0};
	manifest_init(&c.m);
	r = steps_run("capture", capture_steps, ARRAY_LEN(capture_steps), &c, &ret->times, err);
	criu_session_close(&c.session);
	evacuation_done(&c.evacuation);
	capture_gpu_done(&c.gpu);
	task_tree_done(&c.tree);
	task_hold_done(&c.hold);
	kdat_done(&c.kdat);
	c.gen_fd = fd_close(c.gen_fd);
	store_close(&c.store);
	manifest_done(&c.m);
	return r;
}
