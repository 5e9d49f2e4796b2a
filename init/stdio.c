/* SPDX-License-Identifier: Apache-2.0 */
#include "init/stdio.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

/* *ours non-blocking, *theirs not; both close-on-exec and above stdio */
static int make_pipe(bool outward, int *ours, int *theirs)
{
	int fds[2], r;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	*ours = outward ? fds[0] : fds[1];
	*theirs = outward ? fds[1] : fds[0];
	r = fd_set_nonblock(*ours, true);
	if (r == 0)
		return 0;
	*ours = fd_close(*ours);
	*theirs = fd_close(*theirs);
	return r;
}

static int open_name(int end)
{
	char path[40];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", end);
	fd = open(path, O_PATH | O_CLOEXEC);
	return fd < 0 ? FD_NONE : fd;
}

int stdio_init(struct stdio *stdio, struct loop *loop, struct snap_error *err)
{
	int r = 0;

	stdio->on = true;
	stdio->loop = loop;
	for (int i = 0; i < STDIO_N; i++) {
		bool outward = i != STDIN_FILENO;
		int ours = FD_NONE;

		stdio->ends[i] = stdio->names[i] = FD_NONE;
		if (r == 0)
			r = make_pipe(outward, &ours, &stdio->ends[i]);
		if (r == 0)
			stdio->names[i] = open_name(ours);
		pump_init(&stdio->pumps[i], outward, ours, i);
	}
	if (r == 0)
		return 0;
	stdio_done(stdio);
	return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot make the engine's pipes");
}

void stdio_done(struct stdio *stdio)
{
	if (!stdio->on)
		return;
	for (int i = 0; i < STDIO_N; i++) {
		pump_done(&stdio->pumps[i]);
		stdio->ends[i] = fd_close(stdio->ends[i]);
		stdio->names[i] = fd_close(stdio->names[i]);
	}
	stdio->on = false;
}

/* the other end of the pipe behind our end, as an open file of its own */
static int open_other_end(int ours, bool outward)
{
	char path[40];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", ours);
	fd = open(path, (outward ? O_WRONLY : O_RDONLY) | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	(void)fd_set_nonblock(fd, false);
	return fd;
}

static int open_end(struct stdio *stdio, int i)
{
	struct pump *pump = &stdio->pumps[i];
	int ours = FD_NONE, fd, r;

	if (pump->pipe >= 0) {
		fd = open_other_end(pump->pipe, pump->outward);
		if (fd >= 0) {
			(void)fd_close(stdio->ends[i]);
			stdio->ends[i] = fd;
		}
		return stdio->ends[i] >= 0 ? 0 : fd;
	}

	/* finished: the engine closed its end, or the inherited one has come to its end */
	stdio->ends[i] = fd_close(stdio->ends[i]);
	r = make_pipe(pump->outward, &ours, &stdio->ends[i]);
	if (r < 0)
		return r;
	(void)fd_close(stdio->names[i]);
	stdio->names[i] = open_name(ours);
	pump_set_pipe(pump, ours);
	return 0;
}

int stdio_open_ends(struct stdio *stdio, struct snap_error *err)
{
	if (!stdio->on)
		return 0;
	for (int i = 0; i < STDIO_N; i++) {
		int r = open_end(stdio, i);

		if (r < 0)
			return snap_fail(err, SNAP_E_INTERNAL, -r,
					 "cannot open the engine's end of descriptor %d", i);
		/* an inherited descriptor that is gone closes its pipe here, as it should */
		if (i != STDIN_FILENO)
			(void)pump_start(&stdio->pumps[i], stdio->loop);
	}
	return 0;
}

void stdio_close_ends(struct stdio *stdio)
{
	if (!stdio->on)
		return;
	for (int i = 0; i < STDIO_N; i++)
		stdio->ends[i] = fd_close(stdio->ends[i]);
	(void)pump_start(&stdio->pumps[STDIN_FILENO], stdio->loop);
}

void stdio_mark_end(struct stdio *stdio)
{
	if (!stdio->on)
		return;
	for (int i = 0; i < STDIO_N; i++) {
		if (stdio->pumps[i].outward)
			pump_mark_end(&stdio->pumps[i]);
	}
}

bool stdio_is_drained(const struct stdio *stdio)
{
	if (!stdio->on)
		return true;
	for (int i = 0; i < STDIO_N; i++) {
		if (stdio->pumps[i].outward && !pump_is_drained(&stdio->pumps[i]))
			return false;
	}
	return true;
}

uint64_t stdio_moved(const struct stdio *stdio)
{
	uint64_t sum = 0;

	if (!stdio->on)
		return 0;
	for (int i = 0; i < STDIO_N; i++)
		sum += stdio->pumps[i].moved + stdio->pumps[i].lost;
	return sum;
}

int stdio_open_log(void)
{
	struct stat st;
	int fd;

	if (fstat(STDERR_FILENO, &st) < 0 || !(S_ISFIFO(st.st_mode) || isatty(STDERR_FILENO)))
		return STDERR_FILENO;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? STDERR_FILENO : fd;
}
