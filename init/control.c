/* SPDX-License-Identifier: Apache-2.0 */
#include "init/control.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/fd.h"
#include "common/log.h"

#define BACKLOG		 8
#define REFUSED_QUIET_MS 60000

static void drop(struct control_client *client)
{
	loop_remove(&client->source);
	client->fd = fd_close(client->fd);
	client->used = 0;
}

static void reply(struct control_client *client, const char *verb, const char *word)
{
	static char text[CONTROL_REPLY_MAX]; /* one at a time */
	struct control *control = client->control;
	struct json_writer w;

	json_writer_init(&w, text, sizeof(text) - 1);
	json_open_object(&w, NULL);
	control->answer(control->owner, verb, word, &w);
	json_close_object(&w);
	if (w.full) {
		json_writer_init(&w, text, sizeof(text) - 1);
		json_open_object(&w, NULL);
		json_put_string(&w, "error", "the answer is too long");
		json_close_object(&w);
	}
	text[w.used++] = '\n';
	(void)send(client->fd, text, w.used, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* "verb word\n"; a line that is none of ours is answered by the owner as an unknown verb */
static void take_line(struct control_client *client)
{
	char *verb = client->line, *word;

	verb[strcspn(verb, "\r\n")] = '\0';
	word = verb + strcspn(verb, " ");
	if (*word)
		*word++ = '\0';
	word += strspn(word, " ");
	reply(client, verb, word);
	drop(client);
}

static int on_client(struct loop_source *source, uint32_t events)
{
	struct control_client *client = source->owner;
	ssize_t n = recv(client->fd, client->line + client->used,
			 sizeof(client->line) - 1 - client->used, MSG_DONTWAIT);

	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		drop(client);
		return 0;
	}
	client->used += (unsigned int)n;
	client->line[client->used] = '\0';
	if (strchr(client->line, '\n'))
		take_line(client);
	else if (client->used == sizeof(client->line) - 1 || strlen(client->line) < client->used)
		drop(client); /* no line of ours is that long or holds a NUL */
	return 0;
}

/* by the kernel's account, in our user namespace: an id that it does not know is nobody's */
static bool is_welcome(const struct ucred *peer)
{
	return peer->uid == 0 || peer->uid == geteuid();
}

/* the first at once, then what has come in a minute: nobody fills the log with them */
static void tell_refusal(struct control *control, const struct ucred *peer)
{
	control->n_refused++;
	if (deadline_left_ms(control->refused_quiet_until) != 0)
		return;
	log_write(LOG_LEVEL_WARN, "control.refused",
		  (struct log_field[]){LOG_UINT("uid", peer->uid), LOG_UINT("pid", peer->pid),
				       LOG_UINT("count", control->n_refused)},
		  3, "a stranger asked on the control socket");
	control->n_refused = 0;
	control->refused_quiet_until = deadline_after_ms(REFUSED_QUIET_MS);
}

static struct control_client *free_client(struct control *control)
{
	struct control_client *oldest = &control->clients[0];

	for (unsigned int i = 0; i < ARRAY_LEN(control->clients); i++) {
		struct control_client *client = &control->clients[i];

		if (client->fd < 0)
			return client;
		if (client->since < oldest->since)
			oldest = client;
	}
	drop(oldest);
	return oldest;
}

static int on_connection(struct loop_source *source, uint32_t events)
{
	static const char refusal[] = "{\"error\":\"only root and the user of snapinit are heard\","
				      "\"code\":\"preflight\"}\n";
	struct control *control = source->owner;
	snap_cleanup_close int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t len = sizeof(peer);
	struct control_client *client;

	(void)events;
	if (fd < 0)
		return 0; /* it has gone already, or we have too many descriptors: it asks again */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || !is_welcome(&peer)) {
		(void)send(fd, refusal, sizeof(refusal) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
		tell_refusal(control, &peer);
		return 0;
	}
	client = free_client(control);
	client->since = ++control->n_accepted;
	client->fd = TAKE_FD(fd);
	if (loop_add(control->loop, &client->source, client->fd, EPOLLIN, source->priority,
		     on_client, client) < 0)
		drop(client);
	return 0;
}

/* what an earlier life in the same container left: a socket on which nobody listens any more */
static void remove_stale(const struct sockaddr_un *addr)
{
	snap_cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;

	if (fd >= 0 && lstat(addr->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 && errno == ECONNREFUSED)
		(void)unlink(addr->sun_path);
}

static int listen_at(struct control *control, const struct sockaddr_un *addr)
{
	struct stat st;
	mode_t mask;
	int r;

	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->fd < 0)
		return -errno;
	remove_stale(addr);
	mask = umask(0177);
	r = bind(control->fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
	(void)umask(mask);
	if (r < 0)
		return r;
	if (lstat(addr->sun_path, &st) < 0)
		return -errno;
	control->device = st.st_dev;
	control->inode = st.st_ino;
	memcpy(control->path, addr->sun_path, sizeof(control->path));
	return listen(control->fd, BACKLOG) < 0 ? -errno : 0;
}

int control_init(struct control *control, struct loop *loop, const char *path, int priority,
		 control_fn answer, void *owner, struct snap_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int r;

	*control = (struct control){.loop = loop, .fd = FD_NONE, .answer = answer, .owner = owner};
	for (unsigned int i = 0; i < ARRAY_LEN(control->clients); i++)
		control->clients[i] = (struct control_client){.control = control, .fd = FD_NONE};
	/* ours is not always the folder that it was started in */
	if (path[0] != '/')
		return snap_fail_plain(err, SNAP_E_USAGE, EINVAL,
				       "control socket '%s' is no absolute path", path);
	if (strlen(path) >= sizeof(addr.sun_path))
		return snap_fail(err, SNAP_E_USAGE, ENAMETOOLONG, "control socket '%s'", path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	r = listen_at(control, &addr);
	if (r == 0)
		r = loop_add(loop, &control->source, control->fd, EPOLLIN, priority, on_connection,
			     control);
	if (r < 0)
		control_done(control);
	return r < 0 ? snap_fail(err, SNAP_E_INTERNAL, -r, "cannot listen at '%s'", path) : 0;
}

unsigned int control_fds(const struct control *control, int ret[CONTROL_CLIENTS_MAX + 1])
{
	unsigned int n = 0;

	if (!control->loop)
		return 0;
	if (control->fd >= 0)
		ret[n++] = control->fd;
	for (unsigned int i = 0; i < ARRAY_LEN(control->clients); i++) {
		if (control->clients[i].fd >= 0)
			ret[n++] = control->clients[i].fd;
	}
	return n;
}

static void remove_own(const struct control *control)
{
	struct stat st;

	if (control->path[0] && lstat(control->path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    st.st_dev == control->device && st.st_ino == control->inode)
		(void)unlink(control->path);
}

void control_done(struct control *control)
{
	if (!control->loop)
		return;
	for (unsigned int i = 0; i < ARRAY_LEN(control->clients); i++)
		drop(&control->clients[i]);
	loop_remove(&control->source);
	control->fd = fd_close(control->fd);
	remove_own(control);
	control->path[0] = '\0';
}
