/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/nested.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/process.h"
#include "common/user_namespace.h"
#include "snapshot/fingerprint.h"
#include "snapshot/restore.h"
#include "snapshot/room.h"
#include "snapshot/steps.h"

#define STOP_LOOK_MS 50U
/* on top of what a wake may last, which snapinit watches in there */
#define LIMIT_SLACK_MS 15000U
#define OWN_WORDS_MAX  56 /* words of ours on the command line */
#define STATUS_NO_NS   90 /* the namespaces could not be made: not the snapshot's fault */

static int skip(struct snap_error *err, const char *why)
{
	(void)snap_fail_plain(err, SNAP_E_PREFLIGHT, 0, "%s", why);
	return NESTED_SKIPPED;
}

static int may_try(const struct manifest *m, struct snap_error *err)
{
	struct fingerprint here = {0};
	uint64_t available;

	if (geteuid() != 0)
		return skip(err, "not root");
	if (m->n_dirs > 0)
		return skip(err,
			    "the engine has files or sockets that a clone would share with it");
	for (size_t i = 0; i < m->n_files; i++) {
		if (m->files[i].stored)
			return skip(err, "the engine has files that a clone would share with it");
	}
	if (fingerprint_take("", "", &here, err) < 0)
		return skip(err, "the memory limit is unknown");
	available = here.memory_available;
	fingerprint_done(&here);
	if (available < m->resident_bytes + ROOM_WORKSPACE)
		return skip(err, "too little memory for a second engine");
	return 0;
}

static int raise_loopback(void)
{
	snap_cleanup_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		return -errno;
	return 0;
}

/* with rights directly, else through a user namespace, where they are ours */
static int enter_namespaces(void)
{
	const int wanted = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS;

	if (unshare(wanted) == 0)
		return 0;
	if (unshare(wanted | CLONE_NEWUSER) < 0)
		return -errno;
	return user_namespace_map_root(0, 0); /* we are root: may_try() */
}

/* the original holds the numbers of its ptys */
static int mount_own_ptys(void)
{
	if (access("/dev/pts/ptmx", F_OK) < 0)
		return 0; /* no ptys here at all */
	if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		  "newinstance,ptmxmode=0666,mode=0620") < 0)
		return -errno;
	return mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

/* PID 1 of the namespaces: exec'ed as snapinit */
static void __attribute__((noreturn)) run_inside(char *const *argv)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
	    raise_loopback() < 0 || mount_own_ptys() < 0)
		_exit(STATUS_NO_NS);
	/* whoever waits for READY=1 waits for the engine, not for the trial of its snapshot */
	(void)unsetenv("NOTIFY_SOCKET");
	(void)execv(argv[0], argv);
	_exit(STATUS_NO_NS);
}

/* the child: makes the namespaces, and lives as long as their PID 1 to tell its status */
static void __attribute__((noreturn)) run_child(char *const *argv, int log_fd)
{
	int status;
	pid_t pid;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)dup2(log_fd, STDOUT_FILENO);
	(void)dup2(log_fd, STDERR_FILENO);
	(void)fd_close_from_except(3, NULL, 0);
	if (enter_namespaces() < 0)
		_exit(STATUS_NO_NS);
	pid = fork();
	if (pid == 0)
		run_inside(argv);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			_exit(STATUS_NO_NS);
	}
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void put(char ***at, const char *name, const char *value)
{
	if (!value)
		return;
	*(*at)++ = (char *)(uintptr_t)name;
	*(*at)++ = (char *)(uintptr_t)value;
}

/* the caller frees the array; the strings are borrowed */
static char **make_argv(const struct worker_options *options, const char *generation,
			const char *snapinit, const char *self)
{
	size_t words = 0;
	char **argv, **at;

	while (options->argv[words])
		words++;
	argv = calloc(words + OWN_WORDS_MAX, sizeof(*argv));
	if (!argv)
		return NULL;
	at = argv;
	*at++ = (char *)(uintptr_t)snapinit;
	put(&at, "--snapshot", options->store);
	put(&at, "--generation", generation);
	put(&at, "--fallback", "none");
	put(&at, "--worker", self);
	put(&at, "--engine", options->adapter);
	put(&at, "--ready", options->ready);
	put(&at, "--oracle", options->oracle);
	put(&at, "--criu", options->criu);
	for (unsigned int i = PAGE_OPTION_FILLER; i < PAGE_OPTION_MAX_; i++)
		put(&at, page_option_name((enum page_option)i), options->pages.words[i]);
	put(&at, "--log-level", "warn");
	put(&at, "--log-format", "text");
	put(&at, "--control", "none");
	put(&at, "--exit-when-ready", "--");
	memcpy(at, options->argv, words * sizeof(*at));
	return argv;
}

/*
 * The last line that snapinit or the worker logged in there. The clone's own output is in the same
 * file and may hold what its users sent: it is never quoted.
 */
static void last_words(int log_fd, char *buf, size_t size)
{
	static const char *const ours[] = {"snapinit: ", "snapworker: "};
	char text[8192], *save = NULL;
	off_t end = lseek(log_fd, 0, SEEK_END);
	off_t from = end > (off_t)sizeof(text) - 1 ? end - (off_t)sizeof(text) + 1 : 0;
	ssize_t n = pread(log_fd, text, sizeof(text) - 1, from);

	(void)snprintf(buf, size, "no reason given");
	if (n <= 0)
		return;
	text[n] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
			if (strncmp(line, ours[i], strlen(ours[i])) == 0)
				(void)snprintf(buf, size, "%s", line);
		}
	}
}

/* exit status of snapinit in the namespaces, or -errno */
static int run_nested(char *const *argv, int log_fd, uint64_t limit_ms)
{
	struct pidref child = PIDREF_NONE;
	int status, r;
	uint64_t deadline = deadline_after_ms(limit_ms);
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		run_child(argv, log_fd);
	r = pidref_open(&child, pid);
	if (r < 0)
		child = (struct pidref){.pid = pid, .fd = FD_NONE};
	do
		r = process_wait(&child, deadline_after_ms(STOP_LOOK_MS), &status);
	while (r == -ETIMEDOUT && deadline_left_ms(deadline) > 0 && !steps_stopped());
	if (r < 0) {
		(void)pidref_kill(&child, SIGKILL);
		(void)process_wait(&child, DEADLINE_NEVER, &status);
	}
	pidref_done(&child);
	if (r < 0)
		return r;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int read_link(const char *link, char *buf, size_t size)
{
	ssize_t n = readlink(link, buf, size - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

/* snapinit's exit status says which kind of failure it was */
static enum snap_code code_of(int status)
{
	if (status == snap_code_exit_status(SNAP_E_ORACLE))
		return SNAP_E_ORACLE;
	if (status == snap_code_exit_status(SNAP_E_BUDGET))
		return SNAP_E_BUDGET;
	return SNAP_E_RESTORE;
}

int nested_verify(const struct worker_options *options, const struct manifest *m,
		  const char *generation, struct snap_error *err)
{
	char parent[64], snapinit[PATH_MAX], words[512];
	snap_cleanup_close int log_fd = memfd_create("nested.log", MFD_CLOEXEC);
	snap_cleanup_free char **argv = NULL;
	int status = may_try(m, err);

	if (status != 0)
		return status;
	(void)snprintf(parent, sizeof(parent), "/proc/%d/exe", (int)getppid());
	if (log_fd < 0 || !options->self || read_link(parent, snapinit, sizeof(snapinit)) < 0)
		return skip(err, "snapinit's own program is not to be found");
	argv = make_argv(options, generation, snapinit, options->self);
	if (!argv)
		return skip(err, "out of memory");

	status = run_nested(argv, log_fd, restore_budget_ms(m) + LIMIT_SLACK_MS);
	if (status == 0)
		return 0;
	if (status == STATUS_NO_NS)
		return skip(err, "pid, network and mount namespaces cannot be made here");
	last_words(log_fd, words, sizeof(words));
	return snap_fail_plain(err, code_of(status), 0,
			       "the snapshot does not wake beside the engine (status %d): %s",
			       status, words);
}
