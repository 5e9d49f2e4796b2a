/* SPDX-License-Identifier: Apache-2.0 */
/* what a process holds: sockets */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"

#include "tests/unit/task/holdings_internal.h"

#ifndef IPPROTO_MPTCP
#	define IPPROTO_MPTCP 262
#endif

static int hold_socketpair(void)
{
	int ends[2];

	return holding_kept(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
}

static int hold_socketpair_across_fork(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0)
		return -errno;
	if (holding_fork() == 0) {
		(void)close(ends[0]);
		holding_wait();
	}
	return holding_kept(close(ends[1]));
}

static int hold_socketpair_half(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return -errno;
	return holding_kept(close(ends[1]));
}

static int hold_device_mapping(void)
{
	/* stands for the GPU's: a mapped device that is not /dev/zero */
	static const char *const paths[] = {"/dev/mem", "/dev/zram0", "/dev/vda", "/dev/sda"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		int fd = open(paths[i], O_RDONLY | O_CLOEXEC);
		void *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		(void)fd_close(fd);
		if (at != MAP_FAILED)
			return 0;
	}
	return -ENODEV;
}

static struct sockaddr_in loopback(void)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

/* a listening TCP socket on any port; *ret_address is where */
static int tcp_listener(int protocol, struct sockaddr_in *ret_address)
{
	socklen_t size = sizeof(*ret_address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, protocol);

	*ret_address = loopback();
	if (fd < 0 || bind(fd, (struct sockaddr *)ret_address, size) < 0 || listen(fd, 8) < 0 ||
	    getsockname(fd, (struct sockaddr *)ret_address, &size) < 0)
		return -errno;
	return fd;
}

static int tcp_client(const struct sockaddr_in *address)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	return fd;
}

static int hold_tcp_listener(void)
{
	struct sockaddr_in address;
	int fd = tcp_listener(0, &address);

	return fd < 0 ? fd : 0;
}

static int hold_tcp_listener_v6(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return holding_kept(listen(fd, 8));
}

static int hold_tcp_unconnected(void)
{
	return holding_kept(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int hold_tcp_inside(void)
{
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	if (client < 0)
		return client;
	return holding_kept(accept(listener, NULL, NULL));
}

static int hold_tcp_v6_inside(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
	    listen(listener, 8) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
	    connect(client, (struct sockaddr *)&address, size) < 0)
		return -errno;
	return holding_kept(accept(listener, NULL, NULL));
}

static int hold_tcp_half_closed(void)
{
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	if (client < 0 || accept(listener, NULL, NULL) < 0)
		return -errno;
	return holding_kept(close(client)); /* leaves CLOSE_WAIT */
}

/* no table has them any more, but they still know each other */
static int hold_tcp_shut_down(void)
{
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client, served;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	if (client < 0)
		return client;
	served = accept(listener, NULL, NULL);
	if (shutdown(client, SHUT_RDWR) < 0 || shutdown(served, SHUT_RDWR) < 0)
		return -errno;
	return holding_kept(close(client));
}

static int hold_tcp_v6_shut_down(void)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), served;

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
	    listen(listener, 8) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
	    connect(client, (struct sockaddr *)&address, size) < 0)
		return -errno;
	served = accept(listener, NULL, NULL);
	if (shutdown(client, SHUT_RDWR) < 0 || shutdown(served, SHUT_RDWR) < 0)
		return -errno;
	return holding_kept(close(client));
}

/* one end goes without a word */
static int hold_tcp_reset(void)
{
	struct linger linger = {.l_onoff = 1};
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	if (client < 0 || accept(listener, NULL, NULL) < 0 ||
	    setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
		return -errno;
	return holding_kept(close(client));
}

/* nobody listens there, and nobody has asked how it went */
static int hold_tcp_refused(void)
{
	struct sockaddr_in address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int listener = tcp_listener(0, &address);

	if (fd < 0 || listener < 0 || close(listener) < 0)
		return -errno;
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 && errno == EINPROGRESS
		       ? 0
		       : -errno;
}

/* had a peer, and has none */
static int hold_tcp_disconnected(void)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	if (client < 0 || close(accept(listener, NULL, NULL)) < 0)
		return -errno;
	return holding_kept(connect(client, &none, sizeof(none)));
}

static int hold_tcp_unaccepted(void)
{
	struct sockaddr_in address;
	int listener = tcp_listener(0, &address), client;

	if (listener < 0)
		return listener;
	client = tcp_client(&address);
	return client < 0 ? client : holding_kept(close(client));
}

static int hold_mptcp_listener(void)
{
	struct sockaddr_in address;
	int fd = tcp_listener(IPPROTO_MPTCP, &address);

	return fd < 0 ? fd : 0;
}

static int hold_sctp(void)
{
	return holding_kept(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_SCTP));
}

static int hold_udp(void)
{
	struct sockaddr_in address = loopback();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return holding_kept(bind(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int hold_udp_connected(void)
{
	struct sockaddr_in address = loopback();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	address.sin_port = htons(9);
	return holding_kept(connect(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int hold_ping(void)
{
	return holding_kept(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP));
}

static int hold_raw(void)
{
	return holding_kept(socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP));
}

static int hold_packet(void)
{
	return holding_kept(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x0800)));
}

static int hold_packet_ring(void)
{
	struct tpacket_req request = {
		.tp_block_size = 4096, .tp_block_nr = 2, .tp_frame_size = 2048, .tp_frame_nr = 4};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(0x0800));
	void *at;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)) < 0)
		return -errno;
	at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return at == MAP_FAILED ? -errno : 0;
}

static int hold_vsock(void)
{
	return holding_kept(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int hold_alg(void)
{
	return holding_kept(socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
}

static int hold_xdp(void)
{
	return holding_kept(socket(44 /* AF_XDP */, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int netlink_socket(unsigned int groups)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return fd;
}

static int hold_netlink(void)
{
	int fd = netlink_socket(RTMGRP_LINK);

	return fd < 0 ? fd : 0;
}

static int hold_netlink_unread(void)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg body;
	} request = {
		.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
			   .nlmsg_type = RTM_GETLINK,
			   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.rtgen_family = AF_UNSPEC},
	};

	int fd = netlink_socket(0);

	return fd < 0 ? fd : holding_kept(send(fd, &request, request.header.nlmsg_len, 0));
}

static int hold_netlink_high_group(void)
{
	int fd = netlink_socket(0), group = RTNLGRP_BRVLAN;

	if (fd < 0)
		return fd;
	return holding_kept(
		setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)));
}

static struct sockaddr_un unix_address(const char *word)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	holding_path(address.sun_path, sizeof(address.sun_path), word);
	(void)unlink(address.sun_path);
	return address;
}

static int unix_listener(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	if (type != SOCK_DGRAM && listen(fd, 8) < 0)
		return -errno;
	return fd;
}

static int unix_client(const struct sockaddr_un *address, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	return fd;
}

static int hold_unix_listener(void)
{
	struct sockaddr_un address = unix_address("listener");
	int fd = unix_listener(&address, SOCK_STREAM);

	return fd < 0 ? fd : 0;
}

static int hold_unix_path_descriptor(void)
{
	struct sockaddr_un address = unix_address("path");
	int fd = unix_listener(&address, SOCK_STREAM);

	return fd < 0 ? fd : holding_open(address.sun_path, O_PATH);
}

static int hold_unix_inside(void)
{
	struct sockaddr_un address = unix_address("inside");
	int listener = unix_listener(&address, SOCK_STREAM), client;

	if (listener < 0)
		return listener;
	client = unix_client(&address, SOCK_STREAM);
	if (client < 0)
		return client;
	return holding_kept(accept(listener, NULL, NULL));
}

static int hold_unix_unaccepted(void)
{
	struct sockaddr_un address = unix_address("unaccepted");
	int listener = unix_listener(&address, SOCK_STREAM), client;

	if (listener < 0)
		return listener;
	client = unix_client(&address, SOCK_STREAM);
	return client < 0 ? client : 0;
}

/* our parent's side: a process that left us listens, accepts and waits */
static int unix_with_outside(int type, bool accepts)
{
	struct sockaddr_un address = unix_address("outside");
	int go[2], client;
	char byte;
	pid_t pid;

	if (pipe(go) < 0)
		return -errno;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		int fd;

		(void)setsid();
		fd = unix_listener(&address, type);
		(void)!write(go[1], "r", 1);
		(void)close(go[1]);
		(void)close(go[0]);
		if (fd >= 0 && accepts)
			(void)accept(fd, NULL, NULL);
		(void)sleep(30);
		_exit(0);
	}
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	(void)close(go[1]);
	if (read(go[0], &byte, 1) != 1)
		return -EIO;
	(void)close(go[0]);
	client = unix_client(&address, type);
	(void)usleep(50000); /* the other side accepts */
	return client < 0 ? client : 0;
}

static int hold_unix_outside(void)
{
	return unix_with_outside(SOCK_STREAM, true);
}

static int hold_unix_outside_unaccepted(void)
{
	return unix_with_outside(SOCK_STREAM, false);
}

static int hold_unix_datagram_outside(void)
{
	return unix_with_outside(SOCK_DGRAM, false);
}

/* the other end lives in a process that left us */
static int socketpair_with_outside(int type)
{
	int ends[2];
	pid_t pid;

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		(void)setsid();
		(void)close(ends[0]);
		(void)sleep(30);
		_exit(0);
	}
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	return holding_kept(close(ends[1]));
}

static int hold_socketpair_outside(void)
{
	return socketpair_with_outside(SOCK_STREAM);
}

static int hold_socketpair_datagram_outside(void)
{
	return socketpair_with_outside(SOCK_DGRAM);
}

static int hold_tcp_bound(void)
{
	struct sockaddr_in address = loopback();
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return holding_kept(bind(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int hold_tcp_syn_sent(void)
{
	struct sockaddr_in address = loopback();
	socklen_t size = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	/* nobody answers once the queue is full */
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) < 0 ||
	    listen(listener, 0) < 0 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) < 0)
		return -errno;
	for (int i = 0; i < 3; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		(void)connect(fd, (struct sockaddr *)&address, size);
		(void)usleep(10000);
	}
	return 0;
}

static int hold_unix_abstract(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "snap-held.%d",
		       (int)getpid());
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return holding_kept(listen(fd, 8));
}

static int hold_unix_deleted_listener(void)
{
	struct sockaddr_un address = unix_address("deleted");
	int fd = unix_listener(&address, SOCK_STREAM);

	return fd < 0 ? fd : holding_kept(unlink(address.sun_path));
}

static int hold_unix_bound(void)
{
	struct sockaddr_un address = unix_address("bound");
	int fd = unix_listener(&address, SOCK_DGRAM);

	return fd < 0 ? fd : 0;
}

/* a process that left us is a client of our listener, not accepted or accepted */
static int unix_client_outside(bool accepts)
{
	struct sockaddr_un address = unix_address("served");
	int listener = unix_listener(&address, SOCK_STREAM);
	pid_t pid;

	if (listener < 0)
		return listener;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		(void)setsid();
		(void)close(listener);
		(void)unix_client(&address, SOCK_STREAM);
		(void)sleep(30);
		_exit(0);
	}
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	(void)usleep(50000);
	return accepts ? holding_kept(accept(listener, NULL, NULL)) : 0;
}

static int hold_unix_outside_client(void)
{
	return unix_client_outside(true);
}

static int hold_unix_outside_client_unaccepted(void)
{
	return unix_client_outside(false);
}

/* a descriptor that is only in the queue of a socket pair */
static int send_descriptor(int fd)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec byte = {.iov_base = control, .iov_len = 1};
	struct msghdr message = {
		.msg_iov = &byte,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int ends[2];

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(int));
	if (fd < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) < 0 ||
	    sendmsg(ends[0], &message, 0) < 0)
		return -errno;
	return holding_kept(close(fd));
}

static int hold_file_in_flight(void)
{
	return send_descriptor(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static int hold_socket_in_flight(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		return -errno;
	return send_descriptor(ends[1]);
}

int holding_plain_sockets(void)
{
	int r = hold_socketpair();

	if (r == 0)
		r = hold_tcp_listener();
	return r == 0 ? hold_unix_listener() : r;
}

const struct holding socket_holdings[] = {
	DUMPED(socketpair),
	DUMPED(socketpair_across_fork),
	DUMPED(socketpair_half),
	REFUSED(device_mapping, "maps the device"),
	DUMPED(tcp_listener),
	DUMPED(tcp_listener_v6),
	DUMPED(tcp_unconnected),
	PASSING(tcp_inside, CRIU_DUMPS, CRIU_REFUSES, "is open"),
	PASSING(tcp_v6_inside, CRIU_DUMPS, CRIU_REFUSES, "is open"),
	PASSING(tcp_half_closed, CRIU_DUMPS, CRIU_REFUSES, "is closing"),
	PASSING_UNPRIVILEGED(tcp_shut_down, "is shut down and not closed"),
	PASSING_UNPRIVILEGED(tcp_v6_shut_down, "is shut down and not closed"),
	PASSING_UNPRIVILEGED(tcp_reset, "is shut down and not closed"),
	PASSING_UNPRIVILEGED(tcp_refused, "is shut down and not closed"),
	DUMPED(tcp_disconnected),
	PASSING(tcp_unaccepted, CRIU_DUMPS, CRIU_DUMPS, "not yet accepted"),
	REFUSED(mptcp_listener, "multipathtcp=0"),
	REFUSED(sctp, "SCTP"),
	DUMPED(udp),
	DUMPED(udp_connected),
	DUMPED(ping),
	DUMPED(raw),
	DUMPED(packet),
	DUMPED(packet_ring),
	REFUSED(vsock, "VSOCK"),
	REFUSED(alg, "ALG"),
	REFUSED(xdp, "XDP"),
	DUMPED(netlink),
	PASSING(netlink_unread, CRIU_REFUSES, CRIU_REFUSES, "unread"),
	REFUSED(netlink_high_group, "group"),
	DUMPED(unix_listener),
	REFUSED(unix_path_descriptor, "O_PATH"),
	DUMPED(unix_inside),
	DUMPED(unix_unaccepted),
	REFUSED(unix_outside, "outside"),
	BEYOND(unix_outside_unaccepted, "outside the engine's tree", "CRIU cannot restore it"),
	DUMPED(unix_datagram_outside),
	REFUSED(socketpair_outside, "outside"),
	REFUSED(socketpair_datagram_outside, "outside"),
	DUMPED(tcp_bound),
	PASSING(tcp_syn_sent, CRIU_DUMPS, CRIU_REFUSES, "is opening"),
	DUMPED(unix_abstract),
	DUMPED(unix_deleted_listener),
	DUMPED(unix_bound),
	REFUSED(unix_outside_client, "outside"),
	DUMPED(unix_outside_client_unaccepted),
	DUMPED(file_in_flight),
	PASSING(socket_in_flight, CRIU_DUMPS, CRIU_DUMPS, "in flight"),
};

const size_t n_socket_holdings = ARRAY_LEN(socket_holdings);
