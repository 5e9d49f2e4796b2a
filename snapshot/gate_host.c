/* SPDX-License-Identifier: Apache-2.0 */

/* Can this host, with the rights we have, run what the snapshot holds? */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/parse.h"
#include "common/procfs.h"
#include "snapshot/gate_check.h"
#include "snapshot/room.h"
#include "snapshot/rule.h"

#ifndef CAP_CHECKPOINT_RESTORE
#	define CAP_CHECKPOINT_RESTORE 40
#endif

#define QUOTE_MAX 80
#define MIB	  ((uint64_t)1048576)

static const char *const cap_names[] = {
	"CHOWN",
	"DAC_OVERRIDE",
	"DAC_READ_SEARCH",
	"FOWNER",
	"FSETID",
	"KILL",
	"SETGID",
	"SETUID",
	"SETPCAP",
	"LINUX_IMMUTABLE",
	"NET_BIND_SERVICE",
	"NET_BROADCAST",
	"NET_ADMIN",
	"NET_RAW",
	"IPC_LOCK",
	"IPC_OWNER",
	"SYS_MODULE",
	"SYS_RAWIO",
	"SYS_CHROOT",
	"SYS_PTRACE",
	"SYS_PACCT",
	"SYS_ADMIN",
	"SYS_BOOT",
	"SYS_NICE",
	"SYS_RESOURCE",
	"SYS_TIME",
	"SYS_TTY_CONFIG",
	"MKNOD",
	"LEASE",
	"AUDIT_WRITE",
	"AUDIT_CONTROL",
	"SETFCAP",
	"MAC_OVERRIDE",
	"MAC_ADMIN",
	"SYSLOG",
	"WAKE_ALARM",
	"BLOCK_SUSPEND",
	"AUDIT_READ",
	"PERFMON",
	"BPF",
	"CHECKPOINT_RESTORE",
};

static void compare_text(struct gate *gate, const char *here, const char *had)
{
	char a[QUOTE_MAX], b[QUOTE_MAX];

	if (strcmp(here, had) != 0)
		gate_refuse(gate, "%s is %s, captured on %s", gate->check,
			    gate_quote(here, a, sizeof(a)), gate_quote(had, b, sizeof(b)));
}

void gate_check_machine(struct gate *gate)
{
	compare_text(gate, gate->here->machine, gate->m->host.machine);
}

void gate_check_kernel(struct gate *gate)
{
	compare_text(gate, gate->here->kernel_release, gate->m->host.kernel_release);
}

/* a program that has looked at the processor once uses what it found; more flags here are fine */
void gate_check_cpu(struct gate *gate)
{
	const struct string_list *here = &gate->here->cpu_flags, *had = &gate->m->host.cpu_flags;
	struct gate_names missing = {.n = 0};
	size_t at = 0;

	for (size_t i = 0; i < had->n; i++) {
		while (at < here->n && strcmp(here->items[at], had->items[i]) < 0)
			at++;
		if ((at == here->n || strcmp(here->items[at], had->items[i]) != 0) &&
		    !gate_accepts(gate, had->items[i]))
			gate_names_add(&missing, had->items[i]);
	}
	if (missing.n > 0)
		gate_refuse(gate, "cpu lacks %s", gate_names_text(&missing));
}

void gate_check_criu(struct gate *gate)
{
	const struct fingerprint *here = gate->here, *had = &gate->m->host;
	char a[QUOTE_MAX], b[QUOTE_MAX];

	if (strcmp(here->criu_version, had->criu_version) != 0)
		gate_refuse(gate, "criu is %s, captured with %s",
			    gate_quote(here->criu_version, a, sizeof(a)),
			    gate_quote(had->criu_version, b, sizeof(b)));
	else if (strcmp(here->criu_build_id, had->criu_build_id) != 0)
		gate_refuse(gate, "criu's build id is %s, captured with %s",
			    gate_quote(here->criu_build_id, a, sizeof(a)),
			    gate_quote(had->criu_build_id, b, sizeof(b)));
}

void gate_check_setting(struct gate *gate)
{
	if (strcmp(gate->here->setting, "none") == 0)
		gate_refuse(gate, "setting is none: no right to restore here (remedy: --cap-add "
				  "CHECKPOINT_RESTORE, keep SETPCAP)");
}

/* CRIU's restorer cannot give back a capability it does not have, and hangs over it */
void gate_check_caps(struct gate *gate)
{
	const struct fingerprint *here = gate->here, *had = &gate->m->host;
	uint64_t missing = (had->caps_effective & ~here->caps_effective) |
			   (had->caps_bounding & ~here->caps_bounding);
	struct gate_names names = {.n = 0};

	for (unsigned int i = 0; i < 64; i++) {
		char number[8];

		if (((missing >> i) & 1) == 0)
			continue;
		(void)snprintf(number, sizeof(number), "%u", i);
		gate_names_add(&names, i < ARRAY_LEN(cap_names) ? cap_names[i] : number);
	}
	if (names.n > 0)
		gate_refuse(
			gate,
			"caps lack %s, which the capture had (remedy: add them here, or capture "
			"with the rights of the wake)",
			gate_names_text(&names));
}

static bool is_setting_b_or_c(const struct gate *gate)
{
	return strcmp(gate->here->setting, "B") == 0 || strcmp(gate->here->setting, "C") == 0;
}

void gate_check_filter(struct gate *gate)
{
	if (gate->m->tree_has_filter && is_setting_b_or_c(gate))
		gate_refuse(gate,
			    "filter: the captured engine has a seccomp filter, which setting %s "
			    "cannot restore (remedy: capture without one)",
			    gate->here->setting);
}

void gate_check_privileged(struct gate *gate)
{
	if (!gate->m->unprivileged && is_setting_b_or_c(gate))
		gate_refuse(gate,
			    "privileged: captured in CRIU's privileged mode, setting here is %s "
			    "(remedy: capture for it, snapctl create --for docker)",
			    gate->here->setting);
}

/* root passes it on to nobody; another user's worker has its rights from file capabilities */
void gate_check_no_new_privs(struct gate *gate)
{
	if (gate->here->no_new_privs && !gate->m->host.no_new_privs && gate->m->identity.uid != 0)
		gate_refuse(gate, "no_new_privs is set here, captured without (remedy: allow "
				  "privilege escalation)");
}

void gate_check_page_size(struct gate *gate)
{
	if (gate->here->page_size != gate->m->host.page_size)
		gate_refuse(gate, "page_size is %" PRIu64 ", captured on %" PRIu64,
			    gate->here->page_size, gate->m->host.page_size);
}

void gate_check_nofile(struct gate *gate)
{
	if (gate->here->nofile < gate->m->host.nofile)
		gate_refuse(gate,
			    "nofile is %" PRIu64 ", captured with %" PRIu64
			    " (remedy: --ulimit nofile)",
			    gate->here->nofile, gate->m->host.nofile);
}

void gate_check_memory(struct gate *gate)
{
	uint64_t need, free_bytes = gate->here->memory_available;

	if (__builtin_add_overflow(gate->m->resident_bytes, ROOM_WORKSPACE, &need))
		need = UINT64_MAX;
	if (need > free_bytes)
		gate_refuse(gate, "memory: %" PRIu64 " MiB available, %" PRIu64 " MiB needed",
			    free_bytes / MIB, need / MIB + (need % MIB != 0));
}

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};

	socklen_t size;
	int type;
};

static int listener_address(const struct manifest_listener *listener, struct address *ret)
{
	uint16_t port = htons((uint16_t)listener->port);
	void *where;

	*ret = (struct address){.size = sizeof(ret->v4)};
	ret->type = strncmp(listener->protocol, "udp", 3) == 0 ? SOCK_DGRAM : SOCK_STREAM;
	if (strchr(listener->protocol, '6')) {
		ret->size = sizeof(ret->v6);
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = port;
		where = &ret->v6.sin6_addr;
	} else {
		ret->v4.sin_family = AF_INET;
		ret->v4.sin_port = port;
		where = &ret->v4.sin_addr;
	}
	return inet_pton(ret->any.sa_family, listener->address, where) == 1 ? 0 : -EINVAL;
}

/*
 * The capture has the same port on both families: then its IPv6 socket was made for IPv6 only, or
 * the other one could not have been bound.
 */
static bool is_v6_only(const struct gate *gate, const struct manifest_listener *listener)
{
	for (size_t i = 0; i < gate->m->n_listeners; i++) {
		const struct manifest_listener *other = &gate->m->listeners[i];

		if (other->port == listener->port && !strchr(other->protocol, '6') &&
		    strncmp(other->protocol, listener->protocol, 3) == 0)
			return true;
	}
	return false;
}

/* 0 or the errno of socket() or bind() */
static int try_bind(const struct gate *gate, const struct manifest_listener *listener)
{
	struct address address;
	snap_cleanup_close int fd = FD_NONE;
	int on = 1, v6_only;

	if (listener_address(listener, &address) < 0)
		return EADDRNOTAVAIL;
	fd = socket(address.any.sa_family, address.type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno == EAFNOSUPPORT ? EADDRNOTAVAIL : errno;
	/* of datagram sockets any number could share a port with it */
	if (address.type == SOCK_STREAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (address.any.sa_family == AF_INET6) {
		v6_only = is_v6_only(gate, listener);
		(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only, sizeof(v6_only));
	}
	return bind(fd, &address.any, address.size) < 0 ? errno : 0;
}

void gate_check_listener(struct gate *gate)
{
	for (size_t i = 0; i < gate->m->n_listeners; i++) {
		const struct manifest_listener *listener = &gate->m->listeners[i];
		char name[128];
		int r = try_bind(gate, listener);

		if (r == 0)
			continue;
		(void)snprintf(name, sizeof(name),
			       strchr(listener->address, ':') ? "[%s]:%u" : "%s:%u",
			       listener->address, listener->port);
		if (r == EADDRINUSE)
			gate_refuse_thing(gate, name, "%s %s is taken", listener->protocol, name);
		else if (r == EADDRNOTAVAIL)
			gate_refuse_thing(gate, name, "address %s is not on this host (%s)",
					  listener->address, listener->protocol);
		else
			gate_refuse_thing(gate, name, "%s %s cannot be bound: %s",
					  listener->protocol, name, strerror(r));
	}
}

static int compare_pids(const void *a, const void *b)
{
	int32_t pa = *(const int32_t *)a, pb = *(const int32_t *)b;

	return pa < pb ? -1 : pa > pb;
}

static bool is_listed(const struct manifest *m, pid_t pid)
{
	int32_t key = pid;

	return bsearch(&key, m->pids, m->n_pids, sizeof(key), compare_pids) != NULL;
}

/* a group or session outlives its leader and keeps the number busy, but /proc does not list it */
static int check_leaders(pid_t pid, void *arg)
{
	struct gate *gate = arg;
	struct proc_stat stat;

	if (procfs_stat(pid, &stat) < 0)
		return 0;
	if (stat.pgrp != pid && is_listed(gate->m, stat.pgrp))
		gate_refuse(gate, "pid %d is taken by the process group of %d", (int)stat.pgrp,
			    (int)pid);
	if (stat.session != pid && stat.session != stat.pgrp && is_listed(gate->m, stat.session))
		gate_refuse(gate, "pid %d is taken by the session of %d", (int)stat.session,
			    (int)pid);
	return 0;
}

void gate_check_pid(struct gate *gate)
{
	uint64_t pid_max = 0;
	char text[32];

	if (io_read_line(AT_FDCWD, "/proc/sys/kernel/pid_max", text, sizeof(text)) > 0)
		(void)parse_u64(text, &pid_max);
	for (size_t i = 0; i < gate->m->n_pids; i++) {
		int32_t pid = gate->m->pids[i];
		struct proc_stat stat;
		char name[64];

		if (pid_max > 0 && (uint64_t)pid >= pid_max) {
			gate_refuse(gate, "pid %d is above this host's pid_max %" PRIu64, (int)pid,
				    pid_max);
			continue;
		}
		/* finds threads too, which a listing of /proc does not show */
		if (procfs_stat(pid, &stat) == 0)
			gate_refuse(gate, "pid %d is taken by '%s'", (int)pid,
				    gate_quote(stat.comm, name, sizeof(name)));
	}
	(void)procfs_each_pid(check_leaders, gate);
}

/* the woken engine's pipes are put in place of the captured ones by these names */
void gate_check_stdio(struct gate *gate)
{
	static const char *const streams[] = {"stdin", "stdout", "stderr"};
	char *const *names = gate->m->stdio;
	char quoted[QUOTE_MAX];

	for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
		if (!names[i])
			continue;
		if (rule_pipe(names[i]))
			gate_refuse(gate, "stdio: %s was '%s', which is no pipe", streams[i],
				    gate_quote(names[i], quoted, sizeof(quoted)));
		for (size_t j = 0; j < i; j++) {
			if (names[j] && strcmp(names[i], names[j]) == 0)
				gate_refuse(gate, "stdio: %s and %s were the same %s", streams[j],
					    streams[i],
					    gate_quote(names[i], quoted, sizeof(quoted)));
		}
	}
}
