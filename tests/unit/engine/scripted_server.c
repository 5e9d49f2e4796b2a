/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/scripted_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/test.h"

static void sleep_ms(unsigned int ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	(void)nanosleep(&ts, NULL);
}

int scripted_server_dead_port(int *ret_fd)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t size = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &size), 0);
	*ret_fd = fd;
	return ntohs(addr.sin_port);
}

/* head, then as much as Content-Length says */
static void read_request(int fd, struct scripted_server_seen *seen)
{
	size_t used = 0, want = SIZE_MAX;

	memset(seen->request, 0, sizeof(seen->request));
	while (used < want && used < sizeof(seen->request) - 1) {
		ssize_t n = recv(fd, seen->request + used, sizeof(seen->request) - 1 - used, 0);
		const char *end, *length;

		if (n <= 0)
			return;
		used += (size_t)n;
		end = strstr(seen->request, "\r\n\r\n");
		length = strstr(seen->request, "Content-Length: ");
		if (end)
			want = (size_t)(end + 4 - seen->request) +
			       (length ? strtoul(length + 16, NULL, 10) : 0);
	}
}

static void send_answer(int fd, const struct scripted_answer *answer)
{
	size_t size = strlen(answer->text);

	if (answer->wait_ms)
		sleep_ms(answer->wait_ms);
	for (size_t i = 0; i == 0 || i < answer->repeat; i++) {
		if (!answer->byte_ms) {
			if (send(fd, answer->text, size, MSG_NOSIGNAL) < 0)
				return;
			continue;
		}
		for (size_t at = 0; at < size; at++) {
			if (send(fd, answer->text + at, 1, MSG_NOSIGNAL) < 0)
				return;
			sleep_ms(answer->byte_ms);
		}
	}
}

static void serve_one(int fd, const struct scripted_answer *answer,
		      struct scripted_server_seen *seen)
{
	const struct linger linger = {.l_onoff = 1, .l_linger = 0};
	struct pollfd pfd = {.fd = fd, .events = POLLIN | POLLRDHUP};
	char byte;

	if (!answer->deaf)
		read_request(fd, seen);
	send_answer(fd, answer);
	if (answer->stay) {
		(void)poll(&pfd, 1, 5000);
		seen->client_closed_first = recv(fd, &byte, 1, MSG_DONTWAIT) == 0;
	}
	if (answer->reset)
		(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	(void)close(fd);
	seen->connections++;
}

static void __attribute__((noreturn))
serve(int fd, const struct scripted_answer *answers, size_t n, struct scripted_server_seen *seen)
{
	for (size_t i = 0;; i++) {
		int peer = accept(fd, NULL, NULL);

		if (peer >= 0)
			serve_one(peer, &answers[i < n ? i : n - 1], seen);
	}
}

void scripted_server_start_late(struct scripted_server *s, const struct scripted_answer *answers,
				size_t n, unsigned int delay_ms)
{
	pid_t parent = getpid();
	int fd;

	s->seen = mmap(NULL, sizeof(*s->seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	assert_ptr_not_equal(s->seen, MAP_FAILED);
	s->port = scripted_server_dead_port(&fd);
	if (delay_ms == 0)
		assert_int_equal(listen(fd, 16), 0);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		sleep_ms(delay_ms);
		if (listen(fd, 16) < 0)
			_exit(1);
		serve(fd, answers, n, s->seen);
	}
	(void)close(fd);
}

void scripted_server_start(struct scripted_server *s, const struct scripted_answer *answers,
			   size_t n)
{
	scripted_server_start_late(s, answers, n, 0);
}

void scripted_server_wait(const struct scripted_server *s, unsigned int n)
{
	for (int i = 0; i < 5000; i++) {
		if (__atomic_load_n(&s->seen->connections, __ATOMIC_ACQUIRE) >= n)
			return;
		sleep_ms(1);
	}
	fail_msg("server ended %u connections, not %u", s->seen->connections, n);
}

void scripted_server_stop(struct scripted_server *s)
{
	(void)kill(s->pid, SIGKILL);
	(void)waitpid(s->pid, NULL, 0);
	(void)munmap(s->seen, sizeof(*s->seen));
}
