/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/worker_proto.h"

#include "tests/lib/test.h"

static int pair[2];

static int make_pair(void **state)
{
	(void)state;
	return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int close_pair(void **state)
{
	(void)state;
	pair[0] = fd_close(pair[0]);
	pair[1] = fd_close(pair[1]);
	return 0;
}

/* the layout is a protocol: docs/formats/worker-protocol.md */
_Static_assert(sizeof(struct worker_msg) == 1056, "size");
_Static_assert(offsetof(struct worker_msg, pid) == 16, "pid");
_Static_assert(offsetof(struct worker_msg, value) == 24, "value");
_Static_assert(offsetof(struct worker_msg, text) == 32, "text");

static void test_message_arrives_as_sent(void **state)
{
	struct worker_msg msg = {.type = WORKER_MSG_RESTORED,
				 .id = 7,
				 .code = SNAP_E_GPU,
				 .pid = 1000,
				 .value = 1ULL << 40};
	struct worker_msg got;

	(void)state;
	memcpy(msg.text, "gen-1", 6);
	assert_int_equal(worker_msg_send(pair[0], &msg, 0), 0);
	assert_int_equal(worker_msg_recv(pair[1], &got, 0), 0);
	assert_int_equal(msg.version, WORKER_PROTO_VERSION);
	assert_memory_equal(&got, &msg, sizeof(got));
}

static void test_empty_socket_says_so(void **state)
{
	struct worker_msg got;

	(void)state;
	assert_int_equal(worker_msg_recv(pair[1], &got, MSG_DONTWAIT), -EAGAIN);
	pair[0] = fd_close(pair[0]);
	assert_int_equal(worker_msg_recv(pair[1], &got, MSG_DONTWAIT), 1);
}

static void test_gone_peer_is_an_error_and_no_signal(void **state)
{
	struct worker_msg msg = {.type = WORKER_MSG_GO};

	(void)state;
	pair[1] = fd_close(pair[1]);
	assert_int_equal(worker_msg_send(pair[0], &msg, 0), -EPIPE);
}

/* the kernel tells that something was lost on their side before it gives what they have sent */
static void test_last_word_of_a_peer_that_has_not_read_everything_is_heard(void **state)
{
	struct worker_msg unread = {.type = WORKER_MSG_ENGINE_SAYS_READY};
	struct worker_msg last = {.type = WORKER_MSG_FAILED}, got;

	(void)state;
	assert_int_equal(worker_msg_send(pair[0], &unread, 0), 0);
	assert_int_equal(worker_msg_send(pair[1], &last, 0), 0);
	pair[1] = fd_close(pair[1]);
	assert_int_equal(worker_msg_recv(pair[0], &got, MSG_DONTWAIT), 0);
	assert_int_equal(got.type, WORKER_MSG_FAILED);
	assert_int_equal(worker_msg_recv(pair[0], &got, MSG_DONTWAIT), 1);
}

static void test_full_socket_does_not_block(void **state)
{
	struct worker_msg msg = {.type = WORKER_MSG_GO};
	int r = 0;

	(void)state;
	for (int i = 0; i < 10000 && r == 0; i++)
		r = worker_msg_send(pair[0], &msg, MSG_DONTWAIT);
	assert_int_equal(r, -EAGAIN);
}

static void refused(const void *data, size_t size)
{
	struct worker_msg got;

	assert_int_equal(send(pair[0], data, size, 0), size);
	assert_int_equal(worker_msg_recv(pair[1], &got, MSG_DONTWAIT), -EPROTO);
}

static void test_malformed_messages_are_refused(void **state)
{
	static const struct worker_msg good = {.version = WORKER_PROTO_VERSION,
					       .type = WORKER_MSG_GO};
	struct worker_msg msg = good, got;
	char big[sizeof(msg) + 1];

	(void)state;
	refused(&msg, sizeof(msg) - 1);
	memcpy(big, &msg, sizeof(msg));
	big[sizeof(msg)] = '\0';
	refused(big, sizeof(big));
	msg.version = WORKER_PROTO_VERSION + 1;
	refused(&msg, sizeof(msg));
	msg = good;
	msg.type = WORKER_MSG_NONE;
	refused(&msg, sizeof(msg));
	msg.type = WORKER_MSG_MAX_;
	refused(&msg, sizeof(msg));
	msg = good;
	memset(msg.text, 'x', sizeof(msg.text));
	refused(&msg, sizeof(msg));
	assert_int_equal(send(pair[0], &good, sizeof(good), 0), sizeof(good));
	assert_int_equal(worker_msg_recv(pair[1], &got, MSG_DONTWAIT), 0);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static unsigned int count_open(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 64; fd++)
		n += is_open(fd);
	return n;
}

static void test_descriptors_come_with_the_message_that_keeps_them(void **state)
{
	struct worker_msg msg = {.type = WORKER_MSG_KEEP, .id = 4}, got;
	const int fds[WORKER_KEPT_MAX_] = {0, 1, 2};
	unsigned int before = count_open();
	int kept[WORKER_KEPT_MAX_];

	(void)state;
	assert_int_equal(worker_msg_send_kept(pair[0], &msg, fds), 0);
	assert_int_equal(worker_msg_recv_kept(pair[1], &got, MSG_DONTWAIT, kept), 0);
	assert_int_equal(got.id, 4);
	for (int i = 0; i < WORKER_KEPT_MAX_; i++) {
		struct stat sent, came;

		assert_true(kept[i] > 2);
		assert_int_equal(fcntl(kept[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(fstat(fds[i], &sent), 0);
		assert_int_equal(fstat(kept[i], &came), 0);
		assert_true(sent.st_ino == came.st_ino && sent.st_dev == came.st_dev);
		kept[i] = fd_close(kept[i]);
	}
	/* nobody asked for them: the kernel drops them */
	assert_int_equal(worker_msg_send_kept(pair[0], &msg, fds), 0);
	assert_int_equal(worker_msg_recv(pair[1], &got, MSG_DONTWAIT), 0);
	assert_int_equal(count_open(), before);
}

static void test_descriptors_that_do_not_belong_are_dropped(void **state)
{
	struct worker_msg with = {.type = WORKER_MSG_DONE}, without = {.type = WORKER_MSG_KEEP};
	const int fds[WORKER_KEPT_MAX_] = {0, 1, 2};
	unsigned int before = count_open();
	int kept[WORKER_KEPT_MAX_];
	struct worker_msg got;

	(void)state;
	assert_int_equal(worker_msg_send_kept(pair[0], &with, fds), 0);
	assert_int_equal(worker_msg_recv_kept(pair[1], &got, MSG_DONTWAIT, kept), -EPROTO);
	assert_int_equal(worker_msg_send(pair[0], &without, 0), 0);
	assert_int_equal(worker_msg_recv_kept(pair[1], &got, MSG_DONTWAIT, kept), -EPROTO);
	for (int i = 0; i < WORKER_KEPT_MAX_; i++)
		assert_int_equal(kept[i], FD_NONE);
	assert_int_equal(count_open(), before);
	/* and the talk goes on */
	without.type = WORKER_MSG_DONE;
	assert_int_equal(worker_msg_send(pair[0], &without, 0), 0);
	assert_int_equal(worker_msg_recv_kept(pair[1], &got, MSG_DONTWAIT, kept), 0);
}

static void test_every_message_has_a_name(void **state)
{
	(void)state;
	for (uint32_t a = 0; a < WORKER_MSG_MAX_; a++) {
		for (uint32_t b = 0; b < a; b++)
			assert_string_not_equal(worker_msg_name(a), worker_msg_name(b));
	}
	assert_string_equal(worker_msg_name(WORKER_MSG_MAX_), "unknown");
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, make_pair, close_pair)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(test_message_arrives_as_sent),
		WITH_PAIR(test_empty_socket_says_so),
		WITH_PAIR(test_gone_peer_is_an_error_and_no_signal),
		WITH_PAIR(test_last_word_of_a_peer_that_has_not_read_everything_is_heard),
		WITH_PAIR(test_full_socket_does_not_block),
		WITH_PAIR(test_malformed_messages_are_refused),
		WITH_PAIR(test_descriptors_come_with_the_message_that_keeps_them),
		WITH_PAIR(test_descriptors_that_do_not_belong_are_dropped),
		cmocka_unit_test(test_every_message_has_a_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
