/* SPDX-License-Identifier: Apache-2.0 */
#include "init/signals.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/fd.h"

static void remember_ignored(sigset_t *ignored)
{
	(void)sigemptyset(ignored);
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		struct sigaction action;

		if (sigaction(sig, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			(void)sigaddset(ignored, sig);
	}
}

int signals_init(struct signals *signals, bool job_control)
{
	sigset_t set;
	int saved;

	remember_ignored(&signals->ignored);

	/*
	 * A fault of our own is fatal although its signal is blocked: the kernel resets it. Only
	 * the two signals of a background terminal job are ignored instead, so that talking to the
	 * terminal never stops us. A blocked signal is queued even while it is ignored, but an
	 * inherited SIG_IGN for SIGCHLD would let children vanish unreaped.
	 */
	(void)sigfillset(&set);
	if (!job_control) {
		(void)sigdelset(&set, SIGTTIN);
		(void)sigdelset(&set, SIGTTOU);
	}
	if (sigprocmask(SIG_SETMASK, &set, &signals->mask) < 0)
		return -errno;
	if (!job_control) {
		(void)signal(SIGTTIN, SIG_IGN);
		(void)signal(SIGTTOU, SIG_IGN);
	}
	(void)signal(SIGCHLD, SIG_DFL);

	signals->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (signals->fd >= 0)
		return 0;
	saved = errno;
	(void)sigprocmask(SIG_SETMASK, &signals->mask, NULL);
	return -saved;
}

void signals_done(struct signals *signals)
{
	signals->fd = fd_close(signals->fd);
}

int signals_next(struct signals *signals)
{
	for (;;) {
		struct signalfd_siginfo info;
		ssize_t n = read(signals->fd, &info, sizeof(info));

		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n != (ssize_t)sizeof(info))
			return -EIO;
		if (info.ssi_signo != SIGCHLD && info.ssi_code <= 0 &&
		    info.ssi_pid == (uint32_t)getpid())
			continue;
		return (int)info.ssi_signo;
	}
}

void held_signals_add(struct held_signals *held, int sig)
{
	if (sig >= 1 && sig <= 64)
		held->bits |= UINT64_C(1) << (sig - 1);
}

bool held_signals_has(const struct held_signals *held, int sig)
{
	return sig >= 1 && sig <= 64 && (held->bits & UINT64_C(1) << (sig - 1));
}

int held_signals_take(struct held_signals *held)
{
	int sig;

	if (held->bits == 0)
		return 0;
	sig = __builtin_ctzll(held->bits) + 1;
	held->bits &= held->bits - 1;
	return sig;
}

const char *signal_name(int sig, char *buf, unsigned long size)
{
	const char *name = sigabbrev_np(sig);

	if (name)
		return name;
	if (sig >= SIGRTMIN && sig <= SIGRTMAX)
		(void)snprintf(buf, size, "RTMIN+%d", sig - SIGRTMIN);
	else
		(void)snprintf(buf, size, "%d", sig);
	return buf;
}
