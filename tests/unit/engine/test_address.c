/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "engine/address.h"

#include "tests/lib/test.h"
#include "tests/unit/engine/scripted_server.h"

static void expect(const char *text, int default_port, const char *host, int port)
{
	char got[ADDRESS_HOST_MAX] = "untouched", back[ADDRESS_TEXT_MAX];
	struct snap_error err = {0};
	int got_port = -1;

	assert_int_equal(address_parse(text, strlen(text), default_port, got, &got_port, &err), 0);
	assert_string_equal(got, host);
	assert_int_equal(got_port, port);
	address_format(got, got_port, back);
	if (strrchr(text, ':') && default_port == 0)
		assert_string_equal(back, text);
}

static void test_numeric_addresses_and_localhost_are_understood(void **state)
{
	(void)state;
	expect("127.0.0.1:80", 0, "127.0.0.1", 80);
	expect("[::1]:65535", 0, "::1", 65535);
	expect("localhost:1", 0, "localhost", 1);
	expect("0.0.0.0:8080", 0, "0.0.0.0", 8080);
	expect("10.1.2.3", 80, "10.1.2.3", 80);
	expect("[fe80::1]", 81, "fe80::1", 81);
}

static void test_other_addresses_are_refused_with_a_reason(void **state)
{
	static const struct {
		const char *text, *reason;
	} cases[] = {
		{"", "lacks a port"},
		{":80", "empty or too long"},
		{"127.0.0.1", "lacks a port"},
		{"127.0.0.1:", "no port from 1 to 65535"},
		{"127.0.0.1:0", "no port from 1 to 65535"},
		{"127.0.0.1:65536", "no port from 1 to 65535"},
		{"127.0.0.1:8o", "no port from 1 to 65535"},
		{"127.0.0.1:80808080808", "no port from 1 to 65535"},
		{"example.com:80", "names are not looked up"},
		{"::1:80", "an IPv6 address stands in brackets"},
		{"[::1:80", "no ']'"},
		{"[::1]80", "no port from 1 to 65535"},
		{"[]:80", "empty or too long"},
		{"256.0.0.1:80", "names are not looked up"},
		{"1111111111111111111111111111111111111111111111111111111111111111111:80",
		 "empty or too long"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char host[ADDRESS_HOST_MAX] = "untouched";
		struct snap_error err = {0};
		int port = -1;

		assert_int_equal(
			address_parse(cases[i].text, strlen(cases[i].text), 0, host, &port, &err),
			-EINVAL);
		if (!strstr(err.msg, cases[i].reason))
			fail_msg("'%s': %s", cases[i].text, err.msg);
		assert_string_equal(host, "untouched");
		assert_int_equal(port, -1);
	}
}

static void test_unspecified_address_reaches_this_host(void **state)
{
	static const struct scripted_answer answer = {.text = "x"};
	struct scripted_server server;
	static const char *const hosts[] = {"0.0.0.0", "127.0.0.1", "localhost"};

	(void)state;
	scripted_server_start(&server, &answer, 1);
	for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
		snap_cleanup_close int fd =
			address_connect(hosts[i], server.port, deadline_after_ms(1000));

		assert_true(fd >= 0);
		assert_true(fd_is_cloexec(fd));
	}
	scripted_server_stop(&server);
}

static void test_localhost_tries_ipv6_too(void **state)
{
	struct sockaddr_in6 addr = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	socklen_t size = sizeof(addr);
	snap_cleanup_close int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snap_cleanup_close int fd = FD_NONE;

	(void)state;
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		print_message("SKIP: no IPv6 loopback here\n");
		skip();
	}
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &size), 0);
	fd = address_connect("localhost", ntohs(addr.sin6_port), deadline_after_ms(1000));
	assert_true(fd >= 0);
	fd = fd_close(fd);
	fd = address_connect("::", ntohs(addr.sin6_port), deadline_after_ms(1000));
	assert_true(fd >= 0);
}

static void test_dead_port_is_refused(void **state)
{
	snap_cleanup_close int holder = FD_NONE;
	int port = scripted_server_dead_port(&holder);

	(void)state;
	assert_int_equal(address_connect("127.0.0.1", port, deadline_after_ms(1000)),
			 -ECONNREFUSED);
	assert_int_equal(address_connect("localhost", port, deadline_after_ms(1000)),
			 -ECONNREFUSED);
}

static int write_text(const char *path, const char *text)
{
	snap_cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
}

/* a network of our own, where 40000 is the only ephemeral port */
static int enter_tiny_network(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	snap_cleanup_close int fd = FD_NONE;

	if (unshare(CLONE_NEWNET) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		return -errno;
	return write_text("/proc/sys/net/ipv4/ip_local_port_range", "40000 40000");
}

/* 0 refused every time, 1 not, 77 no such network here; a plain connect proves that it would meet
 */
static int connect_to_itself(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(40000)};
	int fd;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (enter_tiny_network() < 0)
		return 77;
	fd = address_connect("127.0.0.1", 40000, deadline_after_ms(1000));
	if (fd != -ECONNREFUSED)
		return 1;
	/* nothing lingers on the port: the engine can bind it */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return 1;
	(void)close(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? 1 : 0;
}

static void test_connection_to_itself_counts_as_refused(void **state)
{
	pid_t pid = fork();
	int status = -1;

	(void)state;
	if (pid == 0)
		_exit(connect_to_itself());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("SKIP: no network namespace of our own here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numeric_addresses_and_localhost_are_understood),
		cmocka_unit_test(test_other_addresses_are_refused_with_a_reason),
		cmocka_unit_test(test_unspecified_address_reaches_this_host),
		cmocka_unit_test(test_localhost_tries_ipv6_too),
		cmocka_unit_test(test_dead_port_is_refused),
		cmocka_unit_test(test_connection_to_itself_counts_as_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
