/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "engine/release.h"
#include "snapshot/carried.h"
#include "snapshot/criu/kdat.h"
#include "snapshot/criu/session.h"
#include "snapshot/fingerprint.h"
#include "snapshot/images.h"
#include "snapshot/restore_gpu.h"
#include "snapshot/task/hold.h"
#include "snapshot/task/inherited.h"
#include "snapshot/task/xcomp.h"
#include "snapshot/trusted.h"

#define CRIU_LOG_LEVEL 2
#define CRIU_ANSWER_MS 4000U /* less than any budget, so that it is told by name */

struct restore {
	const struct restore_config *config;
	struct restore_result *result;
	struct engine engine;
	struct criu_program program;
	struct criu_session session;
	struct kdat kdat;
	struct store store;
	int gen_fd;
	struct manifest m;
	struct fingerprint here;
	struct carried_made made;
	struct page_map pages;
	struct restore_gpu gpu;
	char **environment; /* as it was when we started: the driver gets another */
	uint64_t deadline_ns;
	/* the digest thread */
	pthread_t thread;
	bool thread_runs;
	atomic_bool thread_stop; /* the attempt has failed: nobody wants the rest */
	int thread_result;
	struct snap_error thread_err;
	bool has_semaphore;
	sem_t state_checked; /* what CRIU interprets is: thread_state says how it went */
	int thread_state;
};

static int step_open(void *context, struct snap_error *err)
{
	struct restore *c = context;
	const struct restore_config *config = c->config;
	int r = store_open(&c->store, config->store_path, false, err);

	if (r < 0)
		return r;
	/* held until the wake is over: nobody removes what is being read */
	if (config->generation) {
		(void)snprintf(c->result->generation, sizeof(c->result->generation), "%s",
			       config->generation);
		c->gen_fd = store_hold_generation(&c->store, config->generation, err);
	} else {
		c->gen_fd = store_hold_current(&c->store, c->result->generation, err);
	}
	if (c->gen_fd < 0)
		return c->gen_fd;
	r = trusted_check_tree(c->gen_fd, c->result->generation, err);
	if (r < 0)
		return r;
	return manifest_load(c->gen_fd, &c->m, err);
}

static int refuse(const struct gate_reasons *reasons, struct snap_error *err)
{
	(void)snap_fail_plain(err, SNAP_E_INCOMPATIBLE, 0, "%s", reasons->text);
	return RESTORE_REFUSED;
}

/* a host whose GPUs do not fit is told so before anything is started */
static int step_gpu_gate(void *context, struct snap_error *err)
{
	struct restore *c = context;
	struct gate_reasons reasons = {.n = 0};

	return gate_check_gpus(&c->m, true, &c->config->accept, &c->gpu.host, &reasons) == 0
		       ? 0
		       : refuse(&reasons, err);
}

/* the driver takes long to start: beside all that comes before its turn */
static int step_gpu_start(void *context, struct snap_error *err)
{
	struct restore *c = context;

	return restore_gpu_start(&c->gpu, &c->m.gpu, err);
}

/* CRIU starts before the host is looked at, and is ready when the gate is through */
static int step_criu_start(void *context, struct snap_error *err)
{
	struct restore *c = context;
	struct criu_start start = {.n_inherit = 0};
	int r = criu_program_find(c->config->criu, &c->program, err);

	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++) {
		if (c->config->stdio[i] >= 0)
			start.inherit[start.n_inherit++] = c->config->stdio[i];
	}
	r = criu_session_open(&c->program, &start, &c->session, err);
	return r == 0 ? criu_session_ask_version(&c->session, err) : r;
}

static void undo_criu_start(void *context)
{
	struct restore *c = context;

	criu_session_close(&c->session);
}

/*
 * What does not need CRIU is done while it starts: the cache is looked for under the version that
 * the manifest names, for with another one the gate refuses.
 */
static int step_host(void *context, struct snap_error *err)
{
	struct restore *c = context;
	int r = fingerprint_take(c->m.host.criu_version, c->program.build_id, &c->here, err);

	if (r < 0)
		return r;
	kdat_find(&c->store, &c->program, &c->here, c->m.unprivileged, &c->kdat);
	criu_session_use_cache(&c->session, c->kdat.dir_fd);
	c->result->cache_hit = c->kdat.hit;

	r = criu_session_version(&c->session, deadline_after_ms(CRIU_ANSWER_MS), err);
	if (r < 0)
		return r;
	free(c->here.criu_version);
	c->here.criu_version = strdup(c->session.version);
	return c->here.criu_version ? 0 : snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
}

/* who says nothing about the engine means the one that was captured */
static int init_engine(struct restore *c, struct snap_error *err)
{
	struct engine_config config = c->config->engine;
	bool silent = !config.adapter || strcmp(config.adapter, "auto") == 0;

	if (silent && !config.ready && c->m.identity.adapter) {
		config.adapter = c->m.identity.adapter;
		config.ready = c->m.ready;
	}
	return engine_init(&c->engine, &config, err);
}

static int step_gate(void *context, struct snap_error *err)
{
	struct restore *c = context;
	struct manifest_identity want = {0};
	struct gate_reasons reasons;
	int r = init_engine(c, err);

	if (r < 0)
		return r;
	r = identity_take(c->config->engine.argv, c->environment, engine_adapter_name(&c->engine),
			  c->m.identity.env_salt, &want, err);
	if (r < 0)
		return r;
	r = gate_check(&c->m, &want, &c->here, c->gen_fd, &c->config->accept, &reasons);
	identity_done(&want);
	return r == 0 ? 0 : refuse(&reasons, err);
}

uint64_t restore_budget_ms(const struct manifest *m)
{
	uint64_t half_ms = m->cold_boot_ms / 2;

	if (m->cold_boot_ms == 0)
		return RESTORE_BUDGET_UNKNOWN_MS;
	if (half_ms > RESTORE_BUDGET_MAX_MS)
		return RESTORE_BUDGET_MAX_MS;
	return half_ms < RESTORE_BUDGET_MIN_MS ? RESTORE_BUDGET_MIN_MS : half_ms;
}

static int step_budget(void *context, struct snap_error *err)
{
	struct restore *c = context;
	uint64_t ms = c->config->timeout_ms ? c->config->timeout_ms : restore_budget_ms(&c->m);

	(void)err;
	c->deadline_ns = deadline_after_ms(ms);
	c->config->talk.budget(c->config->talk.arg, ms);
	return 0;
}

static void *verify_images(void *arg)
{
	struct restore *c = arg;

	c->thread_state =
		images_verify(c->gen_fd, &c->m, IMAGES_STATE, &c->thread_stop, &c->thread_err);
	(void)sem_post(&c->state_checked);
	c->thread_result = c->thread_state;
	if (c->thread_result == 0)
		c->thread_result = images_verify(c->gen_fd, &c->m, IMAGES_CONTENT, &c->thread_stop,
						 &c->thread_err);
	return NULL;
}

static int step_digests_start(void *context, struct snap_error *err)
{
	struct restore *c = context;
	int r;

	if (sem_init(&c->state_checked, 0, 0) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot start a thread");
	c->has_semaphore = true;
	r = pthread_create(&c->thread, NULL, verify_images, c);

	if (r != 0)
		return snap_fail(err, SNAP_E_INTERNAL, r, "cannot start a thread");
	c->thread_runs = true;
	return 0;
}

static void undo_digests_start(void *context)
{
	struct restore *c = context;

	atomic_store(&c->thread_stop, true);
	if (c->thread_runs)
		(void)pthread_join(c->thread, NULL);
	c->thread_runs = false;
}

static int step_pages(void *context, struct snap_error *err)
{
	struct restore *c = context;
	int r = 0;

	if (c->m.pages_bytes > 0)
		r = images_load_pages(c->gen_fd, PAGE_FILES_TREE, &c->m, &c->pages, err);
	if (r < 0 || !manifest_has_device_files(&c->m.gpu))
		return r;
	c->gpu.files.gen_fd = c->gen_fd;
	c->gpu.files.fill = c->config->fill;
	r = images_load_pages(c->gen_fd, PAGE_FILES_DEVICES, &c->m, &c->gpu.files.map, err);
	for (size_t i = 0; i < c->gpu.files.map.n_spaces; i++)
		c->gpu.checkpoint.storage_bytes += c->gpu.files.map.spaces[i].object_bytes;
	return r;
}

static int step_files(void *context, struct snap_error *err)
{
	struct restore *c = context;

	return carried_put_back(&c->m, c->gen_fd, &c->made, err);
}

static void undo_files(void *context)
{
	struct restore *c = context;

	carried_undo(&c->made);
}

/* nobody ever saw it work: do not try it at every start */
static void retract(struct restore *c, struct snap_error *err)
{
	if (c->m.verified || c->config->generation)
		return;
	store_retract(&c->store, c->result->generation);
	snap_error_prefix(err, "%s was never verified and is no longer current",
			  c->result->generation);
}

/*
 * CRIU does what its images say: open files, bind sockets, by name. It must not be told so by a
 * damaged one. These are small; content, which it only copies, is checked beside it.
 */
static int wait_for_state(struct restore *c, struct snap_error *err)
{
	while (sem_wait(&c->state_checked) < 0 && errno == EINTR)
		;
	if (c->thread_state < 0 && err)
		*err = c->thread_err;
	return c->thread_state;
}

static int step_criu(void *context, struct snap_error *err)
{
	struct restore *c = context;
	snap_cleanup_close int images_fd = FD_NONE;
	/* CRIU leaves its statistics in its work folder, or does without where nothing can be made
	 */
	snap_cleanup_close int work_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct criu_options options = {
		.unprivileged = c->m.unprivileged,
		.net_admin = !c->m.unprivileged,
		.log_level = CRIU_LOG_LEVEL,
		.deadline_ns = c->deadline_ns,
	};
	int r;

	images_fd = openat(c->gen_fd, "criu", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (images_fd < 0)
		return snap_fail(err, SNAP_E_CORRUPT, errno, "cannot open criu/");
	r = wait_for_state(c, err);
	if (r < 0)
		return r;
	options.images_fd = images_fd;
	options.work_fd = work_fd;
	for (int i = 0; i < 3; i++) {
		if (c->config->stdio[i] >= 0 && c->m.stdio[i])
			options.inherit[options.n_inherit++] =
				(struct criu_inherit){c->m.stdio[i], c->config->stdio[i]};
	}
	r = criu_session_restore(&c->session, &options, NULL, NULL, &c->result->root_pid, err);
	if (r < 0) {
		/* a verdict of CRIU's, not its death or lateness */
		if (c->session.answered)
			retract(c, err);
		return r;
	}
	if (c->result->root_pid != c->m.root_pid)
		return snap_fail_plain(err, SNAP_E_RESTORE, EPROTO,
				       "the tree came back as pid %d, not %d",
				       (int)c->result->root_pid, (int)c->m.root_pid);
	return 0;
}

static int step_digests(void *context, struct snap_error *err)
{
	struct restore *c = context;

	(void)pthread_join(c->thread, NULL);
	c->thread_runs = false;
	if (c->thread_result < 0 && err)
		*err = c->thread_err;
	return c->thread_result;
}

/*
 * Before the fill, which could not read back what CRIU has left as -w-. A lock that comes before
 * the content does no harm: locked memory is in CRIU's images.
 */
static int step_inherited(void *context, struct snap_error *err)
{
	struct restore *c = context;

	c->result->n_inherited = c->m.n_mappings;
	return inherited_restore(&c->m, &c->result->inherited, err);
}

/* while CRIU's answer is the newest, nobody runs: content into the empty memory */
static int step_fill(void *context, struct snap_error *err)
{
	struct restore *c = context;

	if (c->m.pages_bytes == 0)
		return 0;
	return pages_fill(&c->pages, c->gen_fd, &c->config->fill, &c->result->fill, err);
}

static int step_xcomp(void *context, struct snap_error *err)
{
	struct restore *c = context;

	return xcomp_restore(&c->m, err);
}

/* every byte is in its place and was checked: device memory goes back to its devices */
static int step_gpu(void *context, struct snap_error *err)
{
	struct restore *c = context;
	int r = 0;

	/* whoever kills the tree must know, also if we do not live to undo it */
	if (c->gpu.checkpoint.manifest)
		r = c->config->talk.gpu(c->config->talk.arg,
					gpu_checkpoint_bytes(&c->gpu.checkpoint), err);
	if (r == 0)
		r = restore_gpu_run(&c->gpu, c->deadline_ns, err);
	c->result->gpu_open = c->gpu.touched;
	return r;
}

static void undo_gpu(void *context)
{
	struct restore *c = context;

	restore_gpu_undo(&c->gpu);
	c->result->gpu_open = c->gpu.touched;
}

static int step_resume(void *context, struct snap_error *err)
{
	struct restore *c = context;
	int r = c->config->talk.restored(c->config->talk.arg, c->result->root_pid, err);

	if (r < 0)
		return r;
	return task_hold_continue(c->result->root_pid, NULL, err);
}

/* what it gave back before its capture; nobody is told that it is ready before */
static int step_reclaim(void *context, struct snap_error *err)
{
	struct restore *c = context;
	int r;

	if (!c->m.reclaim_request)
		return 0;
	r = engine_request_parse(c->m.reclaim_request, &c->engine.reclaim, err);
	return r < 0 ? r : engine_reclaim(&c->engine, c->deadline_ns, err);
}

static int ask_oracle(struct restore *c, struct snap_error *err)
{
	int r = engine_request_parse(c->m.oracle_request, &c->engine.oracle, err);

	if (r < 0)
		return r;
	r = engine_check_oracle(&c->engine, c->m.oracle_answer, c->deadline_ns, err);
	if (r != ENGINE_ORACLE_MISMATCH)
		return r;
	retract(c, err);
	return -EBADMSG;
}

/* a snapshot that nobody has tried yet must answer as it did before; it is tried then */
static int step_answer(void *context, struct snap_error *err)
{
	struct restore *c = context;
	bool must_ask = !c->m.verified || c->config->check_oracle;
	int r = 0;

	if (must_ask && c->m.oracle_request && c->m.oracle_answer)
		r = ask_oracle(c, err);
	else if (must_ask && c->engine.ready_kind != ENGINE_READY_FD &&
		 c->engine.ready_kind != ENGINE_READY_NOTIFY)
		r = engine_wait_ready(&c->engine, c->deadline_ns, NULL, NULL, err);
	if (r < 0)
		return r;
	if (!c->m.verified && store_is_writable(&c->store)) {
		c->m.verified = true;
		(void)manifest_save(c->gen_fd, &c->m, NULL); /* else the next wake asks again */
	}
	c->config->talk.ready(c->config->talk.arg);
	return 0;
}

static const struct step restore_steps[] = {
	{"open", step_open, NULL},
	{"budget", step_budget, NULL},
	{"gpu-gate", step_gpu_gate, NULL},
	{"gpu-start", step_gpu_start, NULL},
	{"criu-start", step_criu_start, undo_criu_start},
	{"host", step_host, NULL},
	{"gate", step_gate, NULL},
	{"digests-start", step_digests_start, undo_digests_start},
	{"pages", step_pages, NULL},
	{"files", step_files, undo_files},
	{"criu", step_criu, undo_criu_start},
	{"inherited", step_inherited, NULL},
	{"fill", step_fill, NULL},
	{"xcomp", step_xcomp, NULL},
	{"digests", step_digests, NULL},
	{"gpu", step_gpu, undo_gpu},
	{"resume", step_resume, NULL},
	{"reclaim", step_reclaim, NULL},
	{"answer", step_answer, NULL},
};

/* the strings stay where they are when variables are unset */
static char **copy_environment(void)
{
	size_t n = 0;
	char **copy;

	while (environ[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	if (copy)
		memcpy(copy, environ, n * sizeof(*copy));
	return copy;
}

int restore_run(const struct restore_config *config, struct restore_result *ret,
		struct snap_error *err)
{
	struct restore c = {
		.config = config,
		.result = ret,
		.session = CRIU_SESSION_NONE,
		.store = {.fd = FD_NONE},
		.gen_fd = FD_NONE,
		.kdat = {.dir_fd = FD_NONE},
		.made = {.journal_fd = config->journal_fd},
	};
	int r;

	*ret = (struct restore_result){0};
	manifest_init(&c.m);
	c.environment = copy_environment();
	if (!c.environment)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "out of memory");
	r = steps_run("wake", restore_steps, ARRAY_LEN(restore_steps), &c, &ret->times, err);
	ret->snapshot_bytes = c.m.snapshot_bytes;
	ret->cold_boot_ms = c.m.cold_boot_ms;
	/* the thread is joined in any case: it may post until then */
	if (c.has_semaphore)
		(void)sem_destroy(&c.state_checked);
	criu_session_close(&c.session);
	carried_made_done(&c.made);
	page_map_done(&c.pages);
	restore_gpu_done(&c.gpu);
	free(c.environment);
	fingerprint_done(&c.here);
	kdat_done(&c.kdat);
	c.gen_fd = fd_close(c.gen_fd);
	store_close(&c.store);
	manifest_done(&c.m);
	return r;
}
