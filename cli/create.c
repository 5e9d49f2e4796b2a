/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/create.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/container.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/runtime_dir.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/parse.h"
#include "engine/engine.h"
#include "snapshot/folder.h"
#include "snapshot/manifest.h"

#define OWN_WORDS_MAX 64 /* snapinit and its options but the lists */

struct words {
	const char **items;
	size_t n;
	const char **control; /* the value of --control, to be filled in */
	const char *command;
};

static void add(struct words *words, const char *word)
{
	words->items[words->n++] = word;
}

static void add_option(struct words *words, const char *name, const char *value)
{
	if (!value)
		return;
	add(words, name);
	add(words, value);
}

/* snapinit's command line; `mode` are the words that differ between capture and wake */
static int make_argv(const struct create_spec *spec, const char *generation,
		     const char *const *mode, struct words *ret, struct snap_error *err)
{
	const struct create_engine *engine = &spec->engine;
	size_t n_includes = engine->includes ? engine->includes->n : 0, n = 0;

	while (engine->command[n])
		n++;
	ret->n = 0;
	ret->items = calloc(OWN_WORDS_MAX + 2 * n_includes + n + 1, sizeof(*ret->items));
	if (!ret->items)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "cannot make a command line");
	add(ret, spec->place.snapinit);
	add_option(ret, "--snapshot", spec->store);
	add_option(ret, "--generation", generation);
	for (; *mode; mode++)
		add(ret, *mode);
	add_option(ret, "--engine", engine->adapter);
	add_option(ret, "--ready", engine->ready);
	add_option(ret, "--ready-timeout", engine->ready_timeout);
	add_option(ret, "--oracle", engine->oracle);
	add_option(ret, "--release", engine->release);
	add_option(ret, "--reclaim", engine->reclaim);
	add_option(ret, "--warmup", engine->warmup);
	for (unsigned int i = 0; engine->pages && i < PAGE_OPTION_MAX_; i++)
		add_option(ret, page_option_name((enum page_option)i), engine->pages->words[i]);
	for (size_t i = 0; i < n_includes; i++)
		add_option(ret, "--include", engine->includes->items[i]);
	add_option(ret, "--criu", spec->place.criu);
	add_option(ret, "--log-level", spec->place.log_level);
	add_option(ret, "--log-format", "json");
	add_option(ret, "--control", "none");
	ret->control = &ret->items[ret->n - 1];
	ret->command = engine->command[0];
	add(ret, "--");
	for (size_t i = 0; i < n; i++)
		add(ret, engine->command[i]);
	return 0;
}

/* the container's output is a pipe to us, its input is empty */
static int start(const struct create_place *place, const struct words *argv, struct attend *attend,
		 struct relay *relay, struct pidref *ret, struct snap_error *err)
{
	snap_cleanup_close int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	snap_cleanup_close int write_end = FD_NONE;
	struct container_spec spec = {
		.argv = (char *const *)(uintptr_t)argv->items,
		.rights = place->rights,
		.user = place->user,
		.mask = &attend->old_mask,
	};
	int r;

	if (null_fd < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot open /dev/null");
	r = relay_open(relay, place->out_fd, &write_end, err);
	if (r < 0)
		return r;
	relay->records = place->records;
	relay->as_text = place->out_fd >= 0 && isatty(place->out_fd) == 1;
	spec.stdio[0] = null_fd;
	spec.stdio[1] = write_end;
	spec.stdio[2] = write_end;
	r = container_start(&spec, ret, err);
	if (r < 0)
		relay_close(relay);
	return r;
}

/* an exit status without a told reason */
static int fail_by_status(int status, struct snap_error *err)
{
	for (int i = 0; i < SNAP_CODE_MAX_; i++) {
		if (snap_code_exit_status((enum snap_code)i) == status && status > 0) {
			(void)snap_fail(err, (enum snap_code)i, 0, "snapinit exited with status %d",
					status);
			return -EIO;
		}
	}
	(void)snap_fail_plain(err, SNAP_E_INTERNAL, 0, "snapinit exited with status %d", status);
	return -EIO;
}

/* inode of the pid namespace of our child `pid`, which is its PID 1; 0: unknown */
static uint64_t pid_namespace(pid_t pid)
{
	char path[32];
	struct stat st;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	return stat(path, &st) < 0 ? 0 : (uint64_t)st.st_ino;
}

/* what snapinit told on the way */
struct outcome {
	struct relay_news news;
	uint64_t pid_ns; /* of the container, which is gone now */
	int status;	 /* its exit status */
};

/* start one and stay until its end, showing what it makes (growth, NULL: nothing): 0 and
 * ret->status, -ETIMEDOUT, or -errno with err */
static int start_and_attend(const struct create_place *place, const struct words *argv,
			    uint64_t deadline_ns, struct attend *attend, struct outcome *ret,
			    struct progress_growth *growth, struct snap_error *err)
{
	struct runtime_dir dir = RUNTIME_DIR_NONE;
	struct pidref init = PIDREF_NONE;
	struct relay relay;
	int r;

	/* nobody misses a container of ours because it cannot be asked */
	if (runtime_dir_claim(NULL, argv->command, place->user, &dir, NULL) == 0)
		*argv->control = dir.socket;
	r = start(place, argv, attend, &relay, &init, err);
	if (r < 0) {
		runtime_dir_release(&dir);
		return r;
	}
	ret->pid_ns = pid_namespace(init.pid);
	attend->ended_by = 0;
	/* not before the container is there: it is made by a fork, which wants no threads */
	if (growth)
		progress_start("capture", 0, progress_growth, growth);
	r = attend_wait(attend, &init, &relay, deadline_ns, &ret->status);
	progress_stop();
	pidref_done(&init);
	runtime_dir_release(&dir);
	ret->news = relay.news;
	if (r < 0 && r != -ETIMEDOUT)
		(void)snap_fail(err, SNAP_E_INTERNAL, -r, "cannot attend the container");
	return r;
}

static int run_container(const struct create_place *place, const struct words *argv,
			 uint64_t deadline_ns, struct attend *attend, struct outcome *ret,
			 struct progress_growth *growth, struct snap_error *err)
{
	const struct relay_news *news = &ret->news;
	uid_t uid = geteuid();
	gid_t gid = getegid();
	int r;

	*ret = (struct outcome){.pid_ns = 0};
	/* a container is made with our own rights, whoever's store we are working on */
	credentials_return();
	r = start_and_attend(place, argv, deadline_ns, attend, ret, growth, err);
	if (credentials_act_as(uid, gid, r < 0 ? NULL : err) < 0 && r == 0)
		return -EPERM;
	if (attend->ended_by != 0) {
		(void)snap_fail_plain(err, SNAP_E_INTERNAL, 0, "interrupted by signal %d",
				      attend->ended_by);
		return -EINTR;
	}
	if (r == -ETIMEDOUT)
		return snap_fail_plain(err, SNAP_E_BUDGET, ETIMEDOUT, "not done before --timeout");
	if (r < 0)
		return r;
	if (ret->status == 0)
		return 0;
	if (news->failure.code == SNAP_OK)
		return fail_by_status(ret->status, err);
	*err = news->failure;
	return -EIO;
}

static int capture(const struct create_spec *spec, struct store *store, const char *generation,
		   uint64_t deadline_ns, struct attend *attend, struct snap_error *err)
{
	static const char *const mode[] = {"--capture", "exit", "--fallback", "cold", NULL};
	struct progress_growth growth = {.store_fd = store->fd, .generation = generation};
	snap_cleanup_free const char **items = NULL;
	struct outcome outcome;
	struct words argv;
	int r = make_argv(spec, generation, mode, &argv, err);

	if (r < 0)
		return r;
	items = argv.items;
	r = run_container(&spec->place, &argv, deadline_ns, attend, &outcome, &growth, err);
	/* complete, but we were interrupted: nobody will publish it */
	if (r < 0 && outcome.news.captured)
		store_abort(store, generation);
	/* a worker that was killed leaves lease and generation */
	else if (r < 0 && outcome.pid_ns != 0)
		store_bury(store, generation, outcome.pid_ns);
	return r;
}

int create_try_wake(const struct create_spec *spec, const char *generation, uint64_t deadline_ns,
		    struct attend *attend, uint64_t *ret_ms, struct snap_error *err)
{
	static const char *const mode[] = {"--capture",		"never", "--fallback", "none",
					   "--exit-when-ready", NULL};
	snap_cleanup_free const char **items = NULL;
	struct outcome outcome;
	struct words argv;
	int r = make_argv(spec, generation, mode, &argv, err);

	if (r < 0)
		return r;
	items = argv.items;
	r = run_container(&spec->place, &argv, deadline_ns, attend, &outcome, NULL, err);
	if (r == 0)
		*ret_ms = outcome.news.wake_ms;
	return r;
}

/* the store is the engine's user's: it is the one that reads it at a wake */
static int act_as_user(const struct create_place *place, struct snap_error *err)
{
	return place->user ? credentials_act_as(place->user->uid, place->user->gid, err) : 0;
}

/* make the folder while we may write beside it, then hand it over */
static int make_store(const struct create_spec *spec, bool *ret_made, struct snap_error *err)
{
	const struct credentials *user = spec->place.user;

	if (mkdir(spec->store, 0700) < 0) {
		if (errno == EEXIST)
			return 0;
		return snap_fail(err, snap_code_of_place(errno), errno, "cannot make store '%s'",
				 spec->store);
	}
	*ret_made = true;
	if (user && chown(spec->store, user->uid, user->gid) < 0) {
		int saved = errno;

		(void)rmdir(spec->store);
		return snap_fail(err, SNAP_E_PREFLIGHT, saved, "cannot give store '%s' to uid %u",
				 spec->store, user->uid);
	}
	return 0;
}

static int is_snapshots(int dir_fd, const char *name, void *arg)
{
	(void)dir_fd;
	(void)arg;
	return strcmp(name, "kdat") != 0;
}

/* one that we have made and that nothing came into: what is kept there of CRIU's is no snapshot */
static void take_store_back(const char *path)
{
	snap_cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && folder_each(fd, is_snapshots, NULL) == 0 && folder_remove(fd, "kdat") == 0)
		(void)rmdir(path);
}

static int read_result(const struct store *store, struct create_result *ret, struct snap_error *err)
{
	snap_cleanup_close int gen_fd = store_open_generation(store, ret->generation, err);
	struct manifest m;
	int r;

	if (gen_fd < 0)
		return gen_fd;
	manifest_init(&m);
	r = manifest_load(gen_fd, &m, err);
	if (r == 0) {
		ret->verified = m.verified;
		ret->bytes = m.snapshot_bytes;
		ret->cold_boot_ms = m.cold_boot_ms;
		ret->capture_ms = m.capture_ms;
		ret->frozen_ms = m.frozen_ms;
	}
	manifest_done(&m);
	return r;
}

static void tell_capture(const struct create_result *result)
{
	char size[OUTPUT_SIZE_MAX], boot[OUTPUT_SIZE_MAX], whole[OUTPUT_SIZE_MAX],
		still[OUTPUT_SIZE_MAX];

	output_progress("ready: the engine booted in %s",
			output_duration(result->cold_boot_ms, boot));
	output_progress("capture: %s as %s in %s, the engine stood still for %s",
			output_size(result->bytes, size), result->generation,
			output_duration(result->capture_ms, whole),
			output_duration(result->frozen_ms, still));
}

static int verify(const struct create_spec *spec, uint64_t deadline_ns, const struct store *store,
		  struct attend *attend, struct create_result *ret, struct snap_error *err)
{
	char text[OUTPUT_SIZE_MAX];
	int r;

	output_progress("verify: waking it in a fresh container");
	r = create_try_wake(spec, ret->generation, deadline_ns, attend, &ret->wake_ms, err);
	if (r == 0)
		r = read_result(store, ret, err);
	if (r < 0)
		return r;
	if (!ret->verified) {
		(void)snap_fail_plain(
			err, SNAP_E_INTERNAL, 0,
			"'%s' woke, but its manifest does not say so: is the store writable "
			"for the engine's user?",
			ret->generation);
		return -EIO;
	}
	output_progress("verify: awake and answering in %s", output_duration(ret->wake_ms, text));
	return 0;
}

/* a failing capture takes its own traces away; what comes after it is taken away here */
static int make_generation(const struct create_spec *spec, struct store *store,
			   struct attend *attend, struct create_result *ret, struct snap_error *err)
{
	uint64_t deadline = spec->timeout_ms ? deadline_after_ms(spec->timeout_ms) : DEADLINE_NEVER;
	int r;

	output_progress("boot: %s", spec->engine.command[0]);
	r = capture(spec, store, ret->generation, deadline, attend, err);
	if (r < 0)
		return r;
	r = read_result(store, ret, err);
	if (r == 0)
		tell_capture(ret);
	if (r == 0 && spec->verify)
		r = verify(spec, deadline, store, attend, ret, err);
	if (r == 0)
		r = store_publish(store, ret->generation, err);
	if (r == 0)
		output_progress("publish: %s is current in %s", ret->generation, spec->store);
	else
		store_abort(store, ret->generation);
	return r;
}

/* what the worker would say only after the engine has booted */
static int check_engine(const struct create_engine *said, struct snap_error *err)
{
	int warmup = -1, r;
	struct engine_config config = {
		.adapter = said->adapter,
		.ready = said->ready,
		.oracle = said->oracle,
		.release = said->release,
		.reclaim = said->reclaim,
		.argv = said->command,
	};
	struct engine engine;

	if (said->warmup && parse_int(said->warmup, 0, INT_MAX, &warmup) < 0)
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL, "--warmup '%s' is no number",
				       said->warmup);
	config.warmup = warmup;
	r = engine_init(&engine, &config, err);
	if (r == 0 && engine_readiness_is_unknown(&engine, &config))
		r = snap_fail_plain(
			err, SNAP_E_USAGE, EINVAL,
			"when '%s' is ready is not known; give --ready "
			"http://HOST:PORT/PATH, tcp:HOST:PORT, exec:COMMAND, fd or notify "
			"(none: as soon as it runs)",
			said->command[0]);
	return r;
}

int create_run(const struct create_spec *spec, struct attend *attend, struct create_result *ret,
	       struct snap_error *err)
{
	struct create_result result = {.verified = false};
	struct store store = {.fd = FD_NONE};
	bool made = false;
	int r;

	/* would end container 2 like container 1, or container 1 too early */
	(void)unsetenv("SNAPINIT_EXIT_WHEN_READY");
	r = check_engine(&spec->engine, err);
	if (r == 0)
		r = make_store(spec, &made, err);
	if (r == 0)
		r = act_as_user(&spec->place, err);
	if (r == 0)
		r = store_open(&store, spec->store, false, err);
	if (r == 0)
		r = store_next_name(&store, result.generation, err);
	if (r == 0)
		r = make_generation(spec, &store, attend, &result, err);
	store_close(&store);
	credentials_return();
	if (r == 0)
		*ret = result;
	else if (made)
		take_store_back(spec->store);
	return r;
}
