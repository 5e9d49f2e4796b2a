/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "common/text.h"

#define ANSWER_MAX 16384
#define PATIENCE_S 5

/* no link within the container leads out of it */
static int open_socket_file(const struct control_target *target, const char *path,
			    struct snap_error *err)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	snap_cleanup_close int root_fd = FD_NONE;
	char root[64] = "/";
	int fd;

	if (target->pid > 0)
		(void)snprintf(root, sizeof(root), "/proc/%llu/root",
			       (unsigned long long)target->pid);
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0)
		return snap_fail(err, errno == ENOENT ? SNAP_E_NO_SNAPSHOT : SNAP_E_PREFLIGHT,
				 errno, "cannot look into process %llu",
				 (unsigned long long)target->pid);
	fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
	if (fd < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno,
				 "no snapinit listens at '%s' (--pid and --socket choose another)",
				 path);
	return fd;
}

static int connect_to(const struct control_target *target, struct snap_error *err)
{
	const char *path = target->path ? target->path : INIT_OPTIONS_CONTROL;
	struct timeval patience = {.tv_sec = PATIENCE_S};
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	snap_cleanup_close int file_fd = open_socket_file(target, path, err);
	snap_cleanup_close int fd = FD_NONE;

	if (file_fd < 0)
		return -EIO;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make a socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/proc/self/fd/%d", file_fd);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "no snapinit answers at '%s'", path);
	/* processes of one container see the same socket: its listener is the one */
	if (target->pid > 0 && (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
				(uint64_t)peer.pid != target->pid))
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, ESRCH,
				       "process %llu does not listen at '%s', %d does",
				       (unsigned long long)target->pid, path, (int)peer.pid);
	return TAKE_FD(fd);
}

static int take_error(const json_t *answer, struct snap_error *err)
{
	char text[CONTROL_TEXT_MAX], code[CONTROL_TEXT_MAX];

	if (!json_object_get(answer, "error"))
		return 0;
	return snap_fail_plain(err, snap_code_named(control_text(answer, "code", code)), EIO, "%s",
			       control_text(answer, "error", text));
}

int control_ask(const struct control_target *target, const char *question, json_t **ret_answer,
		struct snap_error *err)
{
	snap_cleanup_close int fd = connect_to(target, err);
	char line[160], answer[ANSWER_MAX];
	json_t *value;
	ssize_t n;
	int r;

	*ret_answer = NULL;
	if (fd < 0)
		return -EIO;
	(void)snprintf(line, sizeof(line), "%s\n", question);
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "snapinit does not listen");
	n = io_read_full(fd, answer, sizeof(answer));
	if (n <= 0)
		return snap_fail(err, SNAP_E_INTERNAL, n < 0 ? (int)-n : EPIPE,
				 "snapinit does not answer");
	value = json_loadb(answer, (size_t)n, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(value)) {
		json_decref(value);
		return snap_fail_plain(err, SNAP_E_INTERNAL, EBADMSG,
				       "what answers is no snapinit");
	}
	r = take_error(value, err);
	if (r < 0) {
		json_decref(value);
		return r;
	}
	*ret_answer = value;
	return 0;
}

const char *control_text(const json_t *object, const char *key, char buf[CONTROL_TEXT_MAX])
{
	return control_clean(json_object_get(object, key), buf);
}

const char *control_clean(const json_t *string, char buf[CONTROL_TEXT_MAX])
{
	const char *text = json_string_value(string);

	(void)snprintf(buf, CONTROL_TEXT_MAX, "%s", text ? text : "");
	text_make_printable(buf);
	return buf;
}
