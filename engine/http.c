/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/http.h"

#include <ctype.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "common/fd.h"
#include "engine/address.h"
#include "engine/http_parser.h"

/* how long to wait for the engine to close its end after a complete answer */
#define CLOSE_WAIT_MS 500

/* request line, four header fields, authorization, body */
#define REQUEST_BYTES_MAX (sizeof(struct engine_request) + HTTP_AUTHORIZATION_MAX + 512)

void http_response_done(struct http_response *response)
{
	free(response->body);
	*response = (struct http_response){0};
}

void http_request_name(const struct engine_request *request, char buf[HTTP_NAME_MAX])
{
	char address[ADDRESS_TEXT_MAX];

	address_format(request->host, request->port, address);
	(void)snprintf(buf, HTTP_NAME_MAX, "%s http://%s%s", request->method, address,
		       request->path);
}

int http_fail_status(const struct engine_request *request, const struct http_response *response,
		     struct snap_error *err)
{
	char name[HTTP_NAME_MAX], excerpt[161];
	size_t n = 0;

	http_request_name(request, name);
	for (size_t i = 0; i < response->body_size && n < sizeof(excerpt) - 1; i++) {
		excerpt[n] = response->body[i];
		if (!isprint((unsigned char)excerpt[n]))
			excerpt[n] = ' ';
		n++;
	}
	excerpt[n] = '\0';
	return snap_fail(err, SNAP_E_NOT_READY, 0, "%s: status %d%s%s", name, response->status,
			 n ? ": " : "", excerpt);
}

static const char *content_type_of(const char *body)
{
	return body[0] == '{' || body[0] == '[' ? "application/json"
						: "application/x-www-form-urlencoded";
}

/* bytes written to buf, or -ENOSPC */
static ssize_t request_print(const struct engine_request *request, const char *authorization,
			     char *buf, size_t size)
{
	char address[ADDRESS_TEXT_MAX], content[128] = "";
	int n;

	address_format(request->host, request->port, address);
	if (strcmp(request->method, "POST") == 0)
		(void)snprintf(content, sizeof(content),
			       "Content-Type: %s\r\nContent-Length: %zu\r\n",
			       content_type_of(request->body), strlen(request->body));
	n = snprintf(buf, size,
		     "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: snapinit\r\nAccept: */*\r\n"
		     "Connection: close\r\n%s%s%s%s\r\n%s",
		     request->method, request->path, address,
		     authorization ? "Authorization: " : "", authorization ? authorization : "",
		     authorization ? "\r\n" : "", content, request->body);
	return n < 0 || (size_t)n >= size ? -ENOSPC : n;
}

static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd pfd = {.fd = fd, .events = events};
	int n;

	do
		n = poll(&pfd, 1, deadline_left_ms(deadline_ns));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

static int send_all(int fd, const char *data, size_t size, uint64_t deadline_ns)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n >= 0) {
			data += n;
			size -= (size_t)n;
		} else if (errno == EAGAIN) {
			int r = wait_for(fd, POLLOUT, deadline_ns);

			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* bytes, 0 at the end, -errno; asks the clock every time, so that a trickle ends as well */
static ssize_t receive_some(int fd, char *buf, size_t size, uint64_t deadline_ns)
{
	for (;;) {
		int r = wait_for(fd, POLLIN, deadline_ns);
		ssize_t n;

		if (r < 0)
			return r;
		n = recv(fd, buf, size, 0);
		if (n >= 0)
			return n;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

static int receive_response(int fd, struct http_parser *parser, uint64_t deadline_ns,
			    struct snap_error *err)
{
	char buf[16384];

	for (;;) {
		ssize_t n = receive_some(fd, buf, sizeof(buf), deadline_ns);
		int r;

		if (n == -ETIMEDOUT)
			return snap_fail(err, SNAP_E_NOT_READY, ETIMEDOUT, "no complete answer");
		if (n < 0)
			return snap_fail(err, SNAP_E_NOT_READY, (int)-n, "cannot receive");
		if (n == 0)
			return http_parser_feed_end(parser, err);
		r = http_parser_feed(parser, buf, (size_t)n, err);
		if (r != 0)
			return r < 0 ? r : 0;
		if (deadline_left_ms(deadline_ns) == 0)
			return snap_fail(err, SNAP_E_NOT_READY, ETIMEDOUT, "no complete answer");
	}
}

/* say that we are done and see the engine's end closed, for a while */
static void close_both_ends(int fd, uint64_t deadline_ns)
{
	uint64_t limit_ns = deadline_after_ms(CLOSE_WAIT_MS);
	char buf[4096];

	if (deadline_ns < limit_ns)
		limit_ns = deadline_ns;
	if (shutdown(fd, SHUT_WR) < 0)
		return;
	while (deadline_left_ms(limit_ns) != 0 && receive_some(fd, buf, sizeof(buf), limit_ns) > 0)
		;
}

static int exchange(const struct engine_request *request, const char *authorization,
		    uint64_t deadline_ns, struct http_parser *parser, struct snap_error *err)
{
	snap_cleanup_close int fd = FD_NONE;
	char text[REQUEST_BYTES_MAX];
	ssize_t size = request_print(request, authorization, text, sizeof(text));
	int sent, r;

	if (size < 0)
		return snap_fail(err, SNAP_E_USAGE, ENOSPC, "request is too large");
	fd = address_connect(request->host, request->port, deadline_ns);
	if (fd < 0) {
		explicit_bzero(text, sizeof(text));
		return snap_fail(err, SNAP_E_NOT_READY, -fd, "cannot connect");
	}
	sent = send_all(fd, text, (size_t)size, deadline_ns);
	explicit_bzero(text, sizeof(text)); /* may hold a key */
	if (sent == -ETIMEDOUT)
		return snap_fail(err, SNAP_E_NOT_READY, ETIMEDOUT, "cannot send");

	/* a server that dislikes a request may answer and close before it has read all of it */
	r = receive_response(fd, parser, deadline_ns, err);
	if (r < 0)
		return sent < 0 ? snap_fail(err, SNAP_E_NOT_READY, -sent, "cannot send") : r;
	close_both_ends(fd, deadline_ns);
	return 0;
}

int http_exchange(const struct engine_request *request, const char *authorization,
		  uint64_t deadline_ns, struct http_response *ret, struct snap_error *err)
{
	struct http_parser parser;
	char name[HTTP_NAME_MAX];
	int r;

	http_request_name(request, name);
	http_parser_init(&parser);
	r = exchange(request, authorization, deadline_ns, &parser, err);
	if (r == 0 && !parser.body) {
		parser.body = strdup("");
		if (!parser.body)
			r = snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no memory for the answer");
	}
	if (r == 0)
		*ret = (struct http_response){.status = parser.status,
					      .body_size = parser.body_size,
					      .body = TAKE_PTR(parser.body)};
	else
		snap_error_prefix(err, "%s", name);
	http_parser_done(&parser);
	return r;
}
