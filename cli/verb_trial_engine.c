/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine of doctor's trial: 1 MiB of a known pattern, and two answers over HTTP. /sum is
 * computed afresh from the memory, so that it tells whether the memory came back.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/verbs.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/parse.h"

#define PATTERN_WORDS (1U << 17) /* of 8 bytes */
#define REQUEST_MAX   2048
#define BACKLOG	      16

static uint64_t next_word(uint64_t word)
{
	return word * 6364136223846793005U + 1442695040888963407U;
}

static uint64_t *make_pattern(void)
{
	uint64_t *pattern = calloc(PATTERN_WORDS, sizeof(*pattern));
	uint64_t word = 1;

	for (size_t i = 0; pattern && i < PATTERN_WORDS; i++)
		pattern[i] = word = next_word(word);
	return pattern;
}

static uint64_t sum_of(const uint64_t *pattern)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < PATTERN_WORDS; i++)
		sum = sum * 31 + pattern[i];
	return sum;
}

static int listen_on(int port, struct snap_error *err)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0) {
		int saved = errno;

		(void)fd_close(fd);
		return snap_fail(err, SNAP_E_INTERNAL, saved, "cannot listen on port %d", port);
	}
	return fd;
}

/* the request's head; requests have no body */
static bool read_head(int fd, char *head, size_t size)
{
	size_t used = 0;

	while (used + 1 < size) {
		ssize_t n = read(fd, head + used, size - 1 - used);

		if (n <= 0)
			return false;
		used += (size_t)n;
		head[used] = '\0';
		if (strstr(head, "\r\n\r\n"))
			return true;
	}
	return false;
}

static void answer(int fd, const uint64_t *pattern)
{
	char head[REQUEST_MAX], body[64], text[256];
	int n;

	if (!read_head(fd, head, sizeof(head)))
		return;
	if (strncmp(head, "GET /sum ", 9) == 0)
		(void)snprintf(body, sizeof(body), "%016llx", (unsigned long long)sum_of(pattern));
	else
		(void)snprintf(body, sizeof(body), "ok");
	n = snprintf(text, sizeof(text),
		     "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
		     "Connection: close\r\n\r\n%s",
		     strlen(body), body);
	(void)io_write_full(fd, text, (size_t)n);
}

int verb_trial_engine(const struct verb *verb, int argc, char **argv, struct snap_error *err)
{
	uint64_t *pattern;
	int fd, port;

	(void)verb;
	if (argc != 2 || parse_int(argv[1], 1, 65535, &port) < 0)
		return snap_fail_plain(err, SNAP_E_USAGE, 0, "PORT is missing"), VERB_FAILED;
	(void)signal(SIGPIPE, SIG_IGN); /* a client may leave early */
	pattern = make_pattern();
	if (!pattern)
		return snap_fail(err, SNAP_E_INTERNAL, ENOMEM, "no pattern"), VERB_FAILED;
	fd = listen_on(port, err);
	if (fd < 0) {
		free(pattern);
		return VERB_FAILED;
	}
	for (;;) {
		snap_cleanup_close int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			answer(client, pattern);
	}
}
