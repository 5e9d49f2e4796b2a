/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "snapshot/restore.h"
#include "worker/jobs.h"
#include "worker/phases.h"
#include "worker/talk.h"

#define RESUME_TIMEOUT_MS 10000U
#define GO_TIMEOUT_MS	  10000U

static void on_budget(void *arg, uint64_t timeout_ms)
{
	(void)arg;
	talk_send(WORKER_MSG_BUDGET, SNAP_OK, 0, timeout_ms, NULL);
}

static int on_restored(void *arg, pid_t root, struct snap_error *err)
{
	(void)arg;
	return talk_ask(WORKER_MSG_RESTORED, root, 0, WORKER_MSG_RESUME,
			deadline_after_ms(RESUME_TIMEOUT_MS), err);
}

static int on_gpu(void *arg, uint64_t device_bytes, struct snap_error *err)
{
	(void)arg;
	return talk_ask(WORKER_MSG_GPU, 0, device_bytes, WORKER_MSG_GO,
			deadline_after_ms(GO_TIMEOUT_MS), err);
}

static void on_ready(void *arg)
{
	const uint64_t *start_ns = arg;

	talk_send(WORKER_MSG_READY, SNAP_OK, 0, (clock_now_ns() - *start_ns) / NS_PER_MS, NULL);
}

static void log_fill(const struct fill_result *fill)
{
	const struct log_field fields[] = {
		LOG_TEXT("filler", fill->filler),
		LOG_TEXT("reader", fill->reader),
		LOG_UINT("direct", fill->direct),
		LOG_UINT("bytes", fill->bytes),
		LOG_UINT("huge_bytes", fill->huge_bytes),
		LOG_UINT("advise_us", fill->advise_ns / 1000),
		LOG_UINT("fill_us", fill->fill_ns / 1000),
		LOG_UINT("ring_bytes", fill->ring_bytes),
		LOG_TEXT("why", fill->why),
	};
	size_t n = ARRAY_LEN(fields) - (fill->why[0] == '\0');

	if (fill->bytes > 0)
		log_write(LOG_LEVEL_INFO, "wake.fill", fields, n, "memory filled from page files");
}

static void log_inherited(const struct restore_result *result)
{
	const struct inherited_result *inherited = &result->inherited;
	const struct log_field fields[] = {
		LOG_UINT("mappings", result->n_inherited),
		LOG_UINT("left", inherited->left),
		LOG_TEXT("why", inherited->why),
	};

	if (inherited->left > 0)
		log_write(LOG_LEVEL_WARN, "wake.mappings", fields, ARRAY_LEN(fields),
			  "mappings have not the protection or the lock that they had");
	else if (result->n_inherited > 0)
		log_write(LOG_LEVEL_INFO, "wake.mappings", fields, ARRAY_LEN(fields) - 1,
			  "mappings have their own protection and locks back");
}

static struct fill_options fill_options(const struct page_options *words)
{
	return (struct fill_options){
		.filler = (enum fill_filler)page_options_index(words, PAGE_OPTION_FILLER),
		.reader = (enum fill_reader)page_options_index(words, PAGE_OPTION_READER),
		.direct = (enum fill_direct)page_options_index(words, PAGE_OPTION_DIRECT),
		.thp = (enum fill_thp)page_options_index(words, PAGE_OPTION_THP),
		.verify = (enum fill_verify)page_options_index(words, PAGE_OPTION_VERIFY),
	};
}

int job_wake(const struct worker_options *options, struct snap_error *err)
{
	uint64_t start_ns = clock_now_ns();
	struct restore_result result = {.gpu_open = false};
	struct restore_config config = {
		.store_path = options->store,
		.generation = options->generation,
		.criu = options->criu,
		.accept = {options->accept.items, options->accept.n},
		.stdio = {WORKER_FD_STDIN, WORKER_FD_STDOUT, WORKER_FD_STDERR},
		.journal_fd = talk_journal_fd(),
		.fill = fill_options(&options->pages),
		.check_oracle = options->check_oracle,
		.timeout_ms = options->timeout_ms,
		.talk = {on_budget, on_restored, on_gpu, on_ready, &start_ns},
	};
	int r = worker_options_engine(options, &config.engine, err);

	for (int i = 0; i < 3; i++) {
		if (fcntl(config.stdio[i], F_GETFD) < 0)
			config.stdio[i] = -1;
	}
	if (r == 0)
		r = restore_run(&config, &result, err);
	if (r == RESTORE_REFUSED || (r < 0 && err->code == SNAP_E_NO_SNAPSHOT)) {
		talk_send(WORKER_MSG_REFUSED, err->code, 0, 0, err->msg);
		return 1;
	}
	if (r < 0) {
		talk_send(WORKER_MSG_FAILED, err->code, 0, result.gpu_open, err->msg);
		return 1;
	}
	log_inherited(&result);
	log_fill(&result.fill);
	phases_log("wake.phases", &result.times, result.snapshot_bytes,
		   result.cache_hit ? "hit" : "miss");
	talk_send(WORKER_MSG_DONE, SNAP_OK, result.root_pid, result.cold_boot_ms,
		  result.generation);
	return 0;
}
