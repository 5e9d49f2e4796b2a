/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/attend.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/process.h"
#include "common/procfs.h"

#define LISTENING_POLL_MS  2
#define LISTENING_LIMIT_MS 2000

static const int forwarded[] = {SIGTERM, SIGINT,  SIGHUP,   SIGQUIT,
				SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

int attend_begin(struct attend *attend, struct snap_error *err)
{
	sigset_t set;

	*attend = (struct attend){.signal_fd = FD_NONE};
	(void)sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		(void)sigaddset(&set, forwarded[i]);
	if (sigprocmask(SIG_BLOCK, &set, &attend->old_mask) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot hold signals back");
	attend->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (attend->signal_fd < 0) {
		int saved = errno;

		(void)sigprocmask(SIG_SETMASK, &attend->old_mask, NULL);
		return snap_fail(err, SNAP_E_INTERNAL, saved, "cannot receive signals");
	}
	return 0;
}

void attend_end(struct attend *attend)
{
	if (attend->signal_fd < 0)
		return;
	attend->signal_fd = fd_close(attend->signal_fd);
	(void)sigprocmask(SIG_SETMASK, &attend->old_mask, NULL);
}

/* the kernel drops a signal that PID 1 of a namespace neither blocks nor handles */
static bool listens_to(pid_t pid, int sig)
{
	static const char *const keys[] = {"SigBlk", "SigCgt"};

	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		char text[64];

		if (procfs_status_field(pid, keys[i], text, sizeof(text)) == 0 &&
		    (strtoull(text, NULL, 16) >> (sig - 1)) & 1)
			return true;
	}
	return false;
}

static void forward(struct attend *attend, const struct pidref *init, int sig)
{
	uint64_t deadline = deadline_after_ms(LISTENING_LIMIT_MS);

	if (sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGQUIT)
		attend->ended_by = sig;
	/* snapinit blocks all of them in its first milliseconds */
	while (!listens_to(init->pid, sig) && deadline_left_ms(deadline) > 0) {
		struct pollfd pfd = {.fd = init->fd, .events = POLLIN};

		if (poll(&pfd, 1, LISTENING_POLL_MS) > 0)
			return; /* it has ended */
	}
	(void)pidref_kill(init, sig);
}

static void take_signals(struct attend *attend, const struct pidref *init)
{
	struct signalfd_siginfo info;

	while (read(attend->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		/* the terminal has sent it to our whole process group, which is PID 1's too */
		if (info.ssi_code == SI_KERNEL && getpgid(init->pid) == getpgrp()) {
			attend->ended_by = (int)info.ssi_signo;
			continue;
		}
		forward(attend, init, (int)info.ssi_signo);
	}
}

static int exit_status(int wait_status)
{
	return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* the engine's last words are in the pipe; other holders of its end are gone with PID 1 */
static void finish_relay(struct relay *relay)
{
	while (relay && relay->fd >= 0) {
		struct pollfd pfd = {.fd = relay->fd, .events = POLLIN};

		if (poll(&pfd, 1, 0) <= 0 || relay_turn(relay) != 0)
			relay_close(relay);
	}
}

int attend_wait(struct attend *attend, const struct pidref *init, struct relay *relay,
		uint64_t deadline_ns, int *ret_status)
{
	int wait_status = 0, result = 0;

	for (;;) {
		struct pollfd fds[] = {
			{.fd = init->fd, .events = POLLIN},
			{.fd = attend->signal_fd, .events = POLLIN},
			{.fd = relay ? relay->fd : -1, .events = POLLIN},
		};
		int left = deadline_left_ms(deadline_ns);

		if (left == 0 && result == 0) {
			result = -ETIMEDOUT;
			(void)pidref_kill(init, SIGKILL);
			deadline_ns = DEADLINE_NEVER;
			continue;
		}
		if (init->fd < 0 && (left < 0 || left > 10))
			left = 10; /* no pidfd in this kernel */
		if (poll(fds, ARRAY_LEN(fds), left) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			take_signals(attend, init);
		if (fds[2].revents && relay_turn(relay) != 0)
			relay_close(relay);
		if (process_wait(init, 0, &wait_status) == 0)
			break;
	}
	finish_relay(relay);
	*ret_status = exit_status(wait_status);
	return result;
}
