/* SPDX-License-Identifier: Apache-2.0 */
#include "init/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

#define PRIORITY   10 /* after signals and children */
#define STEPS_MAX  16 /* per turn */
#define SPLICE_MAX (1U << 16)
#define SMALL_STEP 4096 /* what a pipe that polls writable takes whole */
#define TTY_STEP   128	/* the same for a terminal that could not be opened again */

/* what one step came to; positive: bytes moved */
enum step {
	STEP_END = 0,	  /* source finished */
	STEP_EMPTY = -1,  /* source has nothing now */
	STEP_FULL = -2,	  /* sink takes nothing now */
	STEP_BROKEN = -3, /* sink is gone */
};

enum pump_kind pump_kind_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return PUMP_OTHER;
	if (S_ISFIFO(st.st_mode))
		return PUMP_PIPE;
	if (S_ISSOCK(st.st_mode))
		return PUMP_SOCKET;
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode))
		return PUMP_FILE;
	return isatty(fd) ? PUMP_TTY : PUMP_OTHER;
}

/* an open file of our own for the same pipe or device, so that O_NONBLOCK is ours too */
static int reopen(int fd, bool outward)
{
	char path[40];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = open(path, (outward ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return r < 0 ? FD_NONE : r;
}

void pump_init(struct pump *pump, bool outward, int pipe, int inherited)
{
	pump->pipe = pipe;
	pump->inherited = inherited;
	pump->reopened = FD_NONE;
	pump->outward = outward;
	pump->kind = pump_kind_of(inherited);
	pump->no_splice = false;
	pump->moved = pump->lost = pump->drain_at = 0;
	pump->loop = NULL;
	pump->source.loop = pump->sink.loop = NULL;
	pump->used = pump->at = 0;
	if (pump->kind != PUMP_SOCKET && pump->kind != PUMP_FILE)
		pump->reopened = reopen(inherited, outward);
}

/* stop for good; what was inherited stays open */
static void finish(struct pump *pump)
{
	loop_remove(&pump->source);
	loop_remove(&pump->sink);
	pump->pipe = fd_close(pump->pipe);
	pump->used = pump->at = 0;
}

void pump_done(struct pump *pump)
{
	finish(pump);
	pump->reopened = fd_close(pump->reopened);
	pump->loop = NULL;
}

void pump_set_pipe(struct pump *pump, int pipe)
{
	finish(pump);
	pump->pipe = pipe;
	pump->loop = NULL;
}

static int outer_fd(const struct pump *pump)
{
	return pump->reopened >= 0 ? pump->reopened : pump->inherited;
}

static bool polls(int fd, short events)
{
	struct pollfd pfd = {.fd = fd, .events = events};

	return poll(&pfd, 1, 0) == 1;
}

static int step_splice(struct pump *pump)
{
	int from = pump->outward ? pump->pipe : pump->inherited;
	int to = pump->outward ? pump->inherited : pump->pipe;
	ssize_t n = splice(from, NULL, to, NULL, SPLICE_MAX, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

	if (n >= 0) {
		pump->moved += (uint64_t)n;
		return (int)n;
	}
	switch (errno) {
	case EAGAIN:
	case EINTR:
		return polls(to, POLLOUT) ? STEP_EMPTY : STEP_FULL;
	case EPIPE:
		return STEP_BROKEN;
	default:
		pump->no_splice = true;
		return STEP_EMPTY; /* still readable: the next turn goes the other way */
	}
}

/* one write to the inherited sink; bytes or a step */
static ssize_t write_outer(struct pump *pump, const char *data, size_t size)
{
	int fd = outer_fd(pump);
	ssize_t n;

	if (pump->kind == PUMP_SOCKET) {
		n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		if (pump->kind != PUMP_FILE && pump->reopened < 0) {
			size_t most = pump->kind == PUMP_PIPE ? SMALL_STEP : TTY_STEP;

			if (!polls(fd, POLLOUT))
				return STEP_FULL;
			size = size < most ? size : most;
		}
		n = write(fd, data, size);
	}
	if (n > 0)
		return n;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return STEP_FULL;
	if (pump->kind == PUMP_FILE) {
		/* disk full: an engine that serves on matters more than its log */
		pump->lost += size;
		return (ssize_t)size;
	}
	return STEP_BROKEN;
}

static int flush(struct pump *pump)
{
	int total = 0;

	while (pump->at < pump->used) {
		uint64_t lost = pump->lost;
		ssize_t n = write_outer(pump, pump->buf + pump->at, pump->used - pump->at);

		if (n < 0)
			return (int)n;
		pump->at += (size_t)n;
		if (pump->lost == lost)
			pump->moved += (uint64_t)n;
		total += (int)n;
	}
	pump->used = pump->at = 0;
	return total;
}

static int step_outward(struct pump *pump)
{
	ssize_t n;

	if (pump->at < pump->used)
		return flush(pump);
	n = read(pump->pipe, pump->buf, sizeof(pump->buf));
	if (n == 0)
		return STEP_END;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? STEP_EMPTY : STEP_END;
	pump->used = (size_t)n;
	return flush(pump);
}

static ssize_t read_outer(struct pump *pump, char *buf, size_t size)
{
	int fd = outer_fd(pump);

	if (pump->kind == PUMP_SOCKET)
		return recv(fd, buf, size, MSG_DONTWAIT);
	if (pump->kind != PUMP_FILE && pump->reopened < 0 && !polls(fd, POLLIN)) {
		errno = EAGAIN;
		return -1;
	}
	return read(fd, buf, size);
}

/* never takes more from the source than the pipe has room for: it may go back to its owner */
static int step_inward(struct pump *pump)
{
	ssize_t n, written;

	if (!polls(pump->pipe, POLLOUT))
		return STEP_FULL;
	n = read_outer(pump, pump->buf, SMALL_STEP);
	if (n == 0)
		return STEP_END;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? STEP_EMPTY : STEP_END;
	written = write(pump->pipe, pump->buf, (size_t)n);
	if (written < 0)
		return STEP_BROKEN;
	pump->moved += (uint64_t)written;
	return (int)written;
}

static int step(struct pump *pump)
{
	if (pump->kind == PUMP_PIPE && pump->reopened < 0 && !pump->no_splice)
		return step_splice(pump);
	return pump->outward ? step_outward(pump) : step_inward(pump);
}

static int on_event(struct loop_source *source, uint32_t events);

/* -EPERM: epoll does not take this kind, it never blocks */
static int watch(struct pump *pump, struct loop_source *source, int fd, uint32_t events)
{
	if (source->loop)
		return loop_change(source, events);
	return loop_add(pump->loop, source, fd, events, PRIORITY, on_event, pump);
}

/*
 * Source watched, sink only for its end; or the other way round. A source that epoll does not take
 * (a regular file as stdin) is always ready: then the sink alone is watched.
 */
static int wait_for(struct pump *pump, bool sink_is_full)
{
	int from = pump->outward ? pump->pipe : outer_fd(pump);
	int to = pump->outward ? outer_fd(pump) : pump->pipe;
	int r;

	if (sink_is_full) {
		loop_remove(&pump->source);
		return watch(pump, &pump->sink, to, EPOLLOUT);
	}
	r = watch(pump, &pump->source, from, EPOLLIN);
	if (r == -EPERM && !pump->outward)
		return watch(pump, &pump->sink, to, EPOLLOUT);
	if (r < 0)
		return r;
	r = watch(pump, &pump->sink, to, 0);
	return r == -EPERM && pump->outward ? 0 : r;
}

static void turn(struct pump *pump)
{
	bool sink_is_full = false;

	for (int i = 0; i < STEPS_MAX; i++) {
		int n = step(pump);

		if (n == STEP_END || n == STEP_BROKEN) {
			finish(pump);
			return;
		}
		sink_is_full = n == STEP_FULL;
		if (n < 0)
			break;
	}
	if (wait_for(pump, sink_is_full) < 0)
		finish(pump);
}

static int on_event(struct loop_source *source, uint32_t events)
{
	struct pump *pump = source->owner;

	if (source == &pump->sink && (events & (EPOLLERR | EPOLLHUP)))
		finish(pump);
	else
		turn(pump);
	return 0;
}

int pump_start(struct pump *pump, struct loop *loop)
{
	int r;

	if (pump->pipe < 0 || pump->loop)
		return 0;
	pump->loop = loop;
	r = wait_for(pump, false);
	if (r < 0)
		finish(pump);
	return r;
}

void pump_mark_end(struct pump *pump)
{
	int in_pipe = 0;

	if (pump->pipe >= 0 && ioctl(pump->pipe, FIONREAD, &in_pipe) < 0)
		in_pipe = 0;
	pump->drain_at =
		pump->moved + pump->lost + (pump->used - pump->at) + (uint64_t)(unsigned)in_pipe;
}

bool pump_is_drained(const struct pump *pump)
{
	return pump->pipe < 0 || !pump->loop || pump->moved + pump->lost >= pump->drain_at;
}
