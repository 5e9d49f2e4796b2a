/* SPDX-License-Identifier: Apache-2.0 */
#include "init/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/process.h"
#include "common/procfs.h"

#define OWN_WORDS_MAX 80 /* program, job, and the options that are no lists, with their values */

static const char *const job_names[] = {
	[WORKER_WAKE] = "wake",	  [WORKER_CAPTURE] = "capture", [WORKER_WATCH] = "watch",
	[WORKER_PROBE] = "probe", [WORKER_RECOVER] = "recover", [WORKER_SUSPEND] = "suspend",
};

/* the installed place, else the build tree's */
static void find_program(struct worker *worker)
{
	static const char *const places[] = {"../libexec/snapinit/snapworker",
					     "../worker/snapworker"};
	char dir[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	char *slash;

	if (n < 0)
		n = 0;
	dir[n] = '\0';
	slash = strrchr(dir, '/');
	if (slash)
		slash[1] = '\0';
	for (unsigned int i = 0; i < ARRAY_LEN(places); i++) {
		int len = snprintf(worker->path, sizeof(worker->path), "%s%s", dir, places[i]);

		if (len < (int)sizeof(worker->path) && access(worker->path, X_OK) == 0)
			return;
	}
	/* none is there: the message of the failing start shall name the installed place */
	if (snprintf(worker->path, sizeof(worker->path), "%s%s", dir, places[0]) < 0)
		worker->path[0] = '\0';
}

int worker_init(struct worker *worker, const struct init_options *options, struct snap_error *err)
{
	size_t words = OWN_WORDS_MAX + 2 * (size_t)(options->include.n + options->accept.n);

	*worker = (struct worker){
		.options = options,
		.cold_boot_ms = WORKER_TIMES_COLD_BOOT,
		.ref = PIDREF_NONE,
		.fd = FD_NONE,
		.journal_fd = FD_NONE,
	};
	if (!options->worker)
		find_program(worker);
	else if (strlen(options->worker) >= sizeof(worker->path))
		return snap_fail(err, SNAP_E_USAGE, ENAMETOOLONG, "--worker");
	else
		memcpy(worker->path, options->worker, strlen(options->worker) + 1);

	for (char **word = options->argv; *word; word++)
		words++;
	worker->argv = calloc(words, sizeof(*worker->argv));
	if (!worker->argv)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory for a command line");
	return 0;
}

void worker_done(struct worker *worker)
{
	worker_hang_up(worker);
	pidref_done(&worker->ref);
	free(worker->argv);
	worker->argv = NULL;
}

/* the strings are only read by exec, whose prototype says otherwise */
static void put(char ***at, const char *word)
{
	*(*at)++ = (char *)(uintptr_t)word;
}

static void put_option(char ***at, const char *name, const char *value)
{
	if (!value)
		return;
	put(at, name);
	put(at, value);
}

static void put_list(char ***at, const char *name, const struct option_list *list)
{
	for (unsigned int i = 0; i < list->n; i++)
		put_option(at, name, list->items[i]);
}

static void put_timeout(char ***at, struct worker *worker, uint64_t ms)
{
	if (ms == 0)
		return;
	(void)snprintf(worker->timeout_text, sizeof(worker->timeout_text), "%" PRIu64 "ms", ms);
	put_option(at, "--timeout", worker->timeout_text);
}

void worker_make_argv(struct worker *worker, enum worker_job job, pid_t root)
{
	const struct init_options *options = worker->options;
	char **at = worker->argv;

	put(&at, worker->path);
	put(&at, job_names[job]);
	put_option(&at, "--store", options->snapshot);
	if (job != WORKER_WAKE) {
		(void)snprintf(worker->pid_text, sizeof(worker->pid_text), "%d", (int)root);
		put_option(&at, "--pid", worker->pid_text);
	} else {
		put_timeout(&at, worker, options->wake_timeout_ms);
	}
	if (job == WORKER_SUSPEND)
		put_timeout(&at, worker, worker->suspend_ms);
	/* the caller wants to know whether it answers as before */
	if (job == WORKER_WAKE && options->exit_when_ready)
		put(&at, "--check-oracle");
	if (job == WORKER_CAPTURE)
		put_option(&at, "--mode", options->capture == CAPTURE_EXIT ? "exit" : "first-boot");
	if (job == WORKER_CAPTURE && worker->cold_boot_ms != WORKER_TIMES_COLD_BOOT) {
		(void)snprintf(worker->cold_boot_text, sizeof(worker->cold_boot_text),
			       "%" PRIu64 "ms", worker->cold_boot_ms);
		put_option(&at, "--cold-boot", worker->cold_boot_text);
	}
	if (job == WORKER_WAKE || job == WORKER_CAPTURE)
		put_option(&at, "--generation", options->generation);
	put_option(&at, "--engine", options->engine);
	put_option(&at, "--ready", options->ready);
	put_option(&at, "--ready-timeout", options->ready_timeout);
	put_option(&at, "--quiet-timeout", options->quiet_timeout);
	if (job == WORKER_CAPTURE && options->dump_timeout_ms > 0) {
		(void)snprintf(worker->dump_text, sizeof(worker->dump_text), "%" PRIu64 "ms",
			       options->dump_timeout_ms);
		put_option(&at, "--dump-timeout", worker->dump_text);
	}
	put_option(&at, "--oracle", options->oracle);
	put_option(&at, "--warmup", options->warmup);
	put_option(&at, "--release", options->release);
	put_option(&at, "--reclaim", options->reclaim);
	for (unsigned int i = 0; i < PAGE_OPTION_MAX_; i++)
		put_option(&at, page_option_name((enum page_option)i), options->pages.words[i]);
	put_list(&at, "--include", &options->include);
	put_list(&at, "--accept", &options->accept);
	put_option(&at, "--criu", options->criu);
	put_option(&at, "--log-level",
		   worker->log_level ? worker->log_level : options->log_level_word);
	put_option(&at, "--log-format", options->log_format_word);
	put(&at, "--");
	for (char **word = options->argv; *word; word++)
		put(&at, *word);
	*at = NULL;
}

static int kept_fd(const struct worker *worker, enum worker_kept which)
{
	return worker->kept ? worker->kept[which] : FD_NONE;
}

static int spawn(struct worker *worker, int their_end, const int *pipes, struct snap_error *err)
{
	snap_cleanup_close int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	const int lent[] = {
		[0] = their_end,
		[WORKER_FD_STDIN - WORKER_FD_SOCKET] = pipes ? pipes[0] : FD_NONE,
		[WORKER_FD_STDOUT - WORKER_FD_SOCKET] = pipes ? pipes[1] : FD_NONE,
		[WORKER_FD_STDERR - WORKER_FD_SOCKET] = pipes ? pipes[2] : FD_NONE,
		[WORKER_FD_JOURNAL - WORKER_FD_SOCKET] = worker->journal_fd,
		[WORKER_FD_KEPT + WORKER_KEPT_FOLDER - WORKER_FD_SOCKET] =
			kept_fd(worker, WORKER_KEPT_FOLDER),
		[WORKER_FD_KEPT + WORKER_KEPT_MAP - WORKER_FD_SOCKET] =
			kept_fd(worker, WORKER_KEPT_MAP),
		[WORKER_FD_KEPT + WORKER_KEPT_DATA - WORKER_FD_SOCKET] =
			kept_fd(worker, WORKER_KEPT_DATA),
	};
	struct process_fd fds[3 + ARRAY_LEN(lent)] = {
		{.from = null, .to = STDIN_FILENO},
		{.from = STDERR_FILENO, .to = STDOUT_FILENO},
		{.from = STDERR_FILENO, .to = STDERR_FILENO},
	};
	unsigned int n_fds = 3;
	struct process_spec spec = {
		.path = worker->path,
		.argv = worker->argv,
		.fds = fds,
		.close_fds = true,
		/* its children are told from the engine's by their session */
		.new_session = true,
		.death_signal = SIGKILL,
	};
	int r;

	if (null < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot open /dev/null");
	for (unsigned int i = 0; i < ARRAY_LEN(lent); i++) {
		if (lent[i] >= 0)
			fds[n_fds++] = (struct process_fd){lent[i], WORKER_FD_SOCKET + (int)i};
	}
	spec.n_fds = n_fds;
	r = process_spawn(&spec, &worker->ref, err);
	if (r == PROCESS_EXEC_FAILED) {
		err->code = SNAP_E_PREFLIGHT; /* not the user's command, ours */
		if (err->errnum == EPERM && strlen(err->msg) + 120 < sizeof(err->msg))
			(void)snprintf(err->msg + strlen(err->msg),
				       sizeof(err->msg) - strlen(err->msg), "%s",
				       " (its file capabilities are more than this container "
				       "allows: --cap-add CHECKPOINT_RESTORE)");
		r = -err->errnum;
	}
	return r;
}

int worker_start(struct worker *worker, enum worker_job job, pid_t root, const int *pipes,
		 struct snap_error *err)
{
	snap_cleanup_close int their_end = FD_NONE;
	struct proc_stat stat = {.start_ticks = 0};
	int pair[2], r;

	worker_kill(worker);
	worker_forget(worker);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make a socket pair");
	worker->fd = pair[0];
	their_end = pair[1];

	worker_make_argv(worker, job, root);
	r = spawn(worker, their_end, pipes, err);
	if (r < 0) {
		worker->fd = fd_close(worker->fd);
		return r;
	}
	(void)procfs_stat(worker->ref.pid, &stat);
	worker->since = stat.start_ticks;
	return 0;
}

int worker_send(struct worker *worker, enum worker_msg_type type, uint32_t id)
{
	struct worker_msg msg = {.type = type, .id = id};

	if (worker->fd < 0)
		return -ENOTCONN;
	return worker_msg_send(worker->fd, &msg, MSG_DONTWAIT);
}

int worker_recv(struct worker *worker, struct worker_msg *ret, int ret_kept[WORKER_KEPT_MAX_])
{
	if (worker->fd < 0)
		return -EAGAIN;
	return worker_msg_recv_kept(worker->fd, ret, MSG_DONTWAIT, ret_kept);
}

void worker_hang_up(struct worker *worker)
{
	loop_remove(&worker->source);
	worker->fd = fd_close(worker->fd);
}

void worker_retire(struct worker *worker, uint64_t timeout_ms)
{
	if (!worker_is_active(worker))
		return;
	worker_hang_up(worker);
	worker->retired = true;
	worker->kill_at = deadline_after_ms(timeout_ms);
}

void worker_dismiss(struct worker *worker, uint64_t timeout_ms)
{
	uint64_t kill_at = deadline_after_ms(timeout_ms);

	if (!pidref_is_set(&worker->ref))
		return;
	worker_hang_up(worker);
	worker->retired = true;
	if (kill_at < worker->kill_at)
		worker->kill_at = kill_at;
	(void)pidref_kill(&worker->ref, SIGTERM);
}

void worker_kill(struct worker *worker)
{
	worker_hang_up(worker);
	(void)pidref_kill(&worker->ref, SIGKILL);
	if (pidref_is_set(&worker->ref))
		worker->retired = true;
	worker->kill_at = DEADLINE_NEVER;
}

void worker_forget(struct worker *worker)
{
	worker_hang_up(worker);
	pidref_done(&worker->ref);
	worker->retired = false;
	worker->kill_at = DEADLINE_NEVER;
}
