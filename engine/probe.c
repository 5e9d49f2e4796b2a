/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/process.h"
#include "engine/address.h"
#include "engine/http.h"

/* faults of ours or of the request, not states of an engine that starts */
static bool is_hopeless(int r)
{
	return r == -EINVAL || r == -ENOSPC || r == -ENOMEM || r == -EMFILE || r == -ENFILE ||
	       r == -EAFNOSUPPORT || r == -EACCES || r == -EPERM;
}

int probe_http(const struct engine_request *request, const char *authorization,
	       uint64_t deadline_ns, struct snap_error *err)
{
	snap_cleanup_http_response struct http_response response = {0};
	int r = http_exchange(request, authorization, deadline_ns, &response, err);

	if (r < 0)
		return is_hopeless(r) ? r : PROBE_NOT_YET;
	if (response.status >= 200 && response.status < 400)
		return 0;
	(void)http_fail_status(request, &response, err);
	return PROBE_NOT_YET;
}

int probe_tcp(const char *host, int port, uint64_t deadline_ns, struct snap_error *err)
{
	snap_cleanup_close int fd = address_connect(host, port, deadline_ns);
	char address[ADDRESS_TEXT_MAX];

	if (fd >= 0)
		return 0;
	address_format(host, port, address);
	(void)snap_fail(err, SNAP_E_NOT_READY, -fd, "tcp:%s: cannot connect", address);
	return is_hopeless(fd) ? fd : PROBE_NOT_YET;
}

static int exec_verdict(const char *command, int status, struct snap_error *err)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status))
		(void)snap_fail(err, SNAP_E_NOT_READY, 0, "exec:%s: exit status %d%s", command,
				WEXITSTATUS(status),
				WEXITSTATUS(status) == 127 ? " (command not found?)" : "");
	else
		(void)snap_fail(err, SNAP_E_NOT_READY, 0, "exec:%s: killed by signal %d", command,
				WTERMSIG(status));
	return PROBE_NOT_YET;
}

int probe_exec(const char *command, uint64_t deadline_ns, struct snap_error *err)
{
	const char *argv[] = {"sh", "-c", command, NULL};
	snap_cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	const struct process_fd fds[] = {{null_fd, 0}, {null_fd, 1}, {null_fd, 2}};
	const struct process_spec spec = {
		.path = "/bin/sh",
		.argv = (char *const *)(uintptr_t)argv,
		.fds = fds,
		.n_fds = 3,
		.close_fds = true,
		.new_group = true,
		.death_signal = SIGKILL,
	};
	struct pidref child = PIDREF_NONE;
	int status = 0, r;

	if (null_fd < 0)
		return snap_fail(err, SNAP_E_NOT_READY, errno, "cannot open '/dev/null'");
	r = process_spawn(&spec, &child, err);
	if (r == PROCESS_EXEC_FAILED) {
		snap_error_prefix(err,
				  "exec:%s: no shell, use an http:, tcp: or fd readiness instead",
				  command);
		return err && err->errnum ? -err->errnum : -ENOENT;
	}
	if (r < 0)
		return r;

	r = process_wait(&child, deadline_ns, &status);
	if (r == -ETIMEDOUT) {
		/* the group, since a shell's children outlive it; it cannot be gone: we reap it */
		(void)kill(-child.pid, SIGKILL);
		(void)process_wait(&child, DEADLINE_NEVER, &status);
		(void)snap_fail(err, SNAP_E_NOT_READY, ETIMEDOUT, "exec:%s: did not end", command);
		r = PROBE_NOT_YET;
	} else if (r < 0) {
		(void)snap_fail(err, SNAP_E_INTERNAL, -r, "exec:%s: cannot wait for it", command);
	} else {
		r = exec_verdict(command, status, err);
	}
	pidref_done(&child);
	return r;
}
