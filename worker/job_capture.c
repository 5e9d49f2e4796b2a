/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"
#include "snapshot/capture.h"
#include "worker/jobs.h"
#include "worker/nested.h"
#include "worker/phases.h"
#include "worker/talk.h"

#define GO_TIMEOUT_MS 10000U
#define PIPE_NAME_MAX 32

static int on_wait_engine(void *arg, uint64_t deadline_ns, struct snap_error *err)
{
	(void)arg;
	return talk_wait(WORKER_MSG_ENGINE_SAYS_READY, deadline_ns, err);
}

static void on_ready(void *arg, uint64_t cold_boot_ms)
{
	(void)arg;
	talk_send(WORKER_MSG_READY, SNAP_OK, 0, cold_boot_ms, NULL);
}

static int on_freeze(void *arg, uint64_t device_bytes, struct snap_error *err)
{
	(void)arg;
	return talk_ask(WORKER_MSG_FREEZE, 0, device_bytes, WORKER_MSG_GO,
			deadline_after_ms(GO_TIMEOUT_MS), err);
}

static int on_keep(void *arg, const struct recovery_files *files, struct snap_error *err)
{
	const int kept[WORKER_KEPT_MAX_] = {
		[WORKER_KEPT_FOLDER] = files->folder_fd,
		[WORKER_KEPT_MAP] = files->map_fd,
		[WORKER_KEPT_DATA] = files->data_fd,
	};

	(void)arg;
	return talk_keep(kept, deadline_after_ms(GO_TIMEOUT_MS), err);
}

static void on_thawed(void *arg, bool ended)
{
	(void)arg;
	talk_send(WORKER_MSG_THAWED, SNAP_OK, 0, ended, NULL);
}

static int on_verify(void *arg, const struct manifest *m, struct snap_error *err)
{
	return nested_verify(arg, m, m->generation, err);
}

/* CRIU's names of the pipes PID 1 gave us; a pipe's ends share one inode, so any end will do */
static void name_pipes(char names[3][PIPE_NAME_MAX], char *ret[3])
{
	for (int i = 0; i < 3; i++) {
		struct stat st;

		ret[i] = NULL;
		if (fstat(WORKER_FD_STDIN + i, &st) < 0)
			continue;
		if (S_ISFIFO(st.st_mode)) {
			(void)snprintf(names[i], PIPE_NAME_MAX, "pipe:[%llu]",
				       (unsigned long long)st.st_ino);
			ret[i] = names[i];
		}
		/* holding an end would hide the engine's end of file */
		(void)fd_close(WORKER_FD_STDIN + i);
	}
}

static void log_release(const struct capture_result *result)
{
	if (result->released)
		log_info("capture.released", "the engine gave memory back for the capture");
	else if (result->release_err.msg[0])
		log_warn("capture.unreleased",
			 "the engine gave no memory back, the snapshot is larger than it need be: "
			 "%s",
			 result->release_err.msg);
}

int job_capture(const struct worker_options *options, struct snap_error *err)
{
	char names[3][PIPE_NAME_MAX];
	struct capture_result result = {0};
	struct capture_config config = {
		.store_path = options->store,
		.generation = options->generation,
		.criu = options->criu,
		.root_pid = (pid_t)options->pid,
		.evacuate = page_options_index(&options->pages, PAGE_OPTION_PAGES) == 0,
		.compress = (enum codec_choice)page_options_index(&options->pages,
								  PAGE_OPTION_COMPRESS),
		.gpu_storage = page_options_index(&options->pages, PAGE_OPTION_GPU_MODE) == 1,
		.end_engine = options->mode && strcmp(options->mode, "exit") == 0,
		.cold_boot_ms = options->cold_boot_ms,
		.ready_timeout_ms = options->ready_timeout_ms,
		.quiet_timeout_ms = options->quiet_timeout_ms,
		.dump_timeout_ms = options->dump_timeout_ms,
		.journal_fd = talk_journal_fd(),
		.talk =
			{
				.wait_engine = on_wait_engine,
				.ready = on_ready,
				.freeze = on_freeze,
				.keep = on_keep,
				.thawed = on_thawed,
				.arg = (void *)(uintptr_t)options,
			},
	};
	int r = worker_options_engine(options, &config.engine, err);

	/* a generation that somebody named is verified by them */
	if (!options->generation)
		config.talk.verify = on_verify;
	name_pipes(names, config.stdio);
	for (unsigned int i = 0; r == 0 && i < options->includes.n; i++)
		r = string_list_add(&config.includes, options->includes.items[i]);
	if (r == 0)
		r = capture_run(&config, &result, err);
	string_list_done(&config.includes);
	log_release(&result);
	if (r < 0) {
		talk_send(WORKER_MSG_FAILED, err->code, 0, result.may_be_harmed, err->msg);
		return 1;
	}
	if (!options->generation && !result.verified)
		log_info("capture.unverified", "not verified (%s); the next wake asks the oracle",
			 result.verify_err.msg);
	if (result.cache_err.msg[0])
		log_warn("capture.cache", "%s; the next wake will be slower", result.cache_err.msg);
	phases_log("capture.phases", &result.times, result.snapshot_bytes,
		   result.cache_err.msg[0] ? "miss" : "kept");
	talk_send(WORKER_MSG_DONE, SNAP_OK, 0, result.snapshot_bytes, result.generation);
	return 0;
}
