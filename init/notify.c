/* SPDX-License-Identifier: Apache-2.0 */
#include "init/notify.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/fd.h"

#define MESSAGE_MAX  4096
#define MESSAGES_MAX 16 /* per turn: a chatty engine must not keep PID 1 busy */

/* "/path" or "@abstract"; 0 or -EINVAL */
static int parse_address(const char *text, struct sockaddr_un *ret, socklen_t *ret_len)
{
	size_t len = strlen(text);

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof(ret->sun_path))
		return -EINVAL;
	memcpy(ret->sun_path, text, len);
	if (text[0] == '@')
		ret->sun_path[0] = '\0';
	*ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (text[0] == '/'));
	return 0;
}

static int open_pipe(struct notify *notify, struct snap_error *err)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make the notify pipe");
	(void)fd_set_nonblock(fds[0], true);
	notify->fd = fds[0];
	notify->engine_end = fds[1];
	return 0;
}

static int open_socket(struct notify *notify, struct snap_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	uint64_t random[2];
	socklen_t len = 0;
	char name[64];

	if (getrandom(random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random)) {
		/* at an early boot without entropy a unique name is enough */
		random[0] = (uint64_t)getpid();
		random[1] = (uint64_t)(uintptr_t)&addr;
	}
	(void)snprintf(name, sizeof(name), "@snapinit-%016" PRIx64 "%016" PRIx64, random[0],
		       random[1]);
	(void)snprintf(notify->variable, sizeof(notify->variable), "NOTIFY_SOCKET=%s", name);
	(void)parse_address(name, &addr, &len);

	notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (notify->fd < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make the notify socket");
	if (bind(notify->fd, (const struct sockaddr *)&addr, len) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot bind the notify socket");
	return 0;
}

int notify_init(struct notify *notify, enum ready_kind kind, const char *upstream,
		struct snap_error *err)
{
	int r = 0;

	*notify = (struct notify){
		.kind = kind, .fd = FD_NONE, .engine_end = FD_NONE, .up_fd = FD_NONE};
	if (upstream && parse_address(upstream, &notify->upstream, &notify->upstream_len) == 0) {
		notify->up_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (notify->up_fd < 0)
			notify->upstream_len = 0;
	}
	if (kind == READY_FD)
		r = open_pipe(notify, err);
	else if (kind == READY_NOTIFY)
		r = open_socket(notify, err);
	if (r < 0)
		notify_done(notify);
	return r;
}

void notify_done(struct notify *notify)
{
	notify->fd = fd_close(notify->fd);
	notify->engine_end = fd_close(notify->engine_end);
	notify->up_fd = fd_close(notify->up_fd);
}

void notify_close_engine_end(struct notify *notify)
{
	notify->engine_end = fd_close(notify->engine_end);
}

bool notify_has_line(const char *text, const char *line)
{
	size_t len = strlen(line);

	for (const char *at = text; *at;) {
		size_t n = strcspn(at, "\n");

		if (n == len && strncmp(at, line, n) == 0)
			return true;
		at += n + (at[n] == '\n');
	}
	return false;
}

static void send_up(struct notify *notify, const char *text, size_t size)
{
	if (notify->upstream_len == 0)
		return;
	(void)sendto(notify->up_fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL,
		     (const struct sockaddr *)&notify->upstream, notify->upstream_len);
}

static int read_pipe(struct notify *notify)
{
	char buf[256];
	ssize_t n = read(notify->fd, buf, sizeof(buf));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0)
		return NOTIFY_END;
	return memchr(buf, '\n', (size_t)n) ? NOTIFY_READY : 0;
}

static int read_socket(struct notify *notify)
{
	int result = 0;

	for (int i = 0; i < MESSAGES_MAX; i++) {
		char buf[MESSAGE_MAX + 1];
		ssize_t n = recv(notify->fd, buf, MESSAGE_MAX, MSG_DONTWAIT | MSG_TRUNC);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? result : -errno;
		if (n > MESSAGE_MAX) /* cut off: not understood, so not passed on either */
			continue;
		buf[n] = '\0';
		send_up(notify, buf, (size_t)n);
		if (notify_has_line(buf, "READY=1"))
			result = NOTIFY_READY;
	}
	return result;
}

int notify_read(struct notify *notify)
{
	switch (notify->kind) {
	case READY_FD:
		return read_pipe(notify);
	case READY_NOTIFY:
		return read_socket(notify);
	case READY_BY_WORKER:
		break;
	}
	return NOTIFY_END;
}

bool notify_has_upstream(const struct notify *notify)
{
	return notify->upstream_len > 0;
}

void notify_tell_ready(struct notify *notify)
{
	static const char text[] = "READY=1";

	send_up(notify, text, sizeof(text) - 1);
}
