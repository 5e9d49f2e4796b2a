/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/control_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/text.h"

#define ANSWER_MAX 65536

/* all that comes before the end of the connection; bytes, or -ETIMEDOUT or another -errno */
static ssize_t read_answer(int fd, char *buf, size_t size, uint64_t deadline_ns)
{
	size_t used = 0;

	while (used < size) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		int left = deadline_left_ms(deadline_ns);
		ssize_t n;

		if (left == 0)
			return -ETIMEDOUT;
		if (poll(&pfd, 1, left) <= 0)
			continue;
		n = recv(fd, buf + used, size - used, MSG_DONTWAIT);
		/* whoever hangs up with our question unread may have said why */
		if (n == 0 || (n < 0 && errno == ECONNRESET && used > 0))
			break;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		used += n > 0 ? (size_t)n : 0;
	}
	return (ssize_t)used;
}

static int no_answer(ssize_t n, struct snap_error *err)
{
	if (n == -ETIMEDOUT)
		return snap_fail_plain(err, SNAP_E_NOT_READY, ETIMEDOUT,
				       "snapinit has not answered in time; is it stopped?");
	return snap_fail(err, SNAP_E_INTERNAL, n < 0 ? (int)-n : EPIPE, "snapinit does not answer");
}

static int take_error(const json_t *answer, struct snap_error *err)
{
	char text[CONTROL_TEXT_MAX], code[CONTROL_TEXT_MAX];

	if (!json_object_get(answer, "error"))
		return 0;
	return snap_fail_plain(err, snap_code_named(control_text(answer, "code", code)), EIO, "%s",
			       control_text(answer, "error", text));
}

int control_ask(const struct control_target *target, const char *question, uint64_t deadline_ns,
		json_t **ret_answer, struct snap_error *err)
{
	snap_cleanup_close int fd = control_target_connect(target, deadline_ns, err);
	char line[160], answer[ANSWER_MAX];
	json_t *value;
	ssize_t n;
	int r;

	*ret_answer = NULL;
	if (fd < 0)
		return fd;
	(void)snprintf(line, sizeof(line), "%s\n", question);
	if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EPIPE)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "snapinit does not listen");
	n = read_answer(fd, answer, sizeof(answer), deadline_ns);
	if (n <= 0)
		return no_answer(n, err);
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
