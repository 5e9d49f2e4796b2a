/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/checks.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"

/* in the order of what depends on what: the trial needs all the others */
const struct check checks_table[] = {
	{"kern.version", probe_kernel_version},
	{"cap.ckpt", probe_cap_checkpoint},
	{"cap.setpcap", probe_cap_setpcap},
	{"cap.admin", probe_setting},
	{"cap.nnp", probe_no_new_privs},
	{"sec.seccomp", probe_seccomp},
	{"sys.ptrace", probe_ptrace},
	{"sys.kcmp", probe_kcmp},
	{"sys.set_tid", probe_set_tid},
	{"sys.ns_last_pid", probe_ns_last_pid},
	{"sys.pidfd", probe_pidfd},
	{"sys.mount", probe_namespaces},
	{"sys.userns", probe_user_namespace},
	{"sys.uffd", probe_userfaultfd},
	{"sys.io_uring", probe_io_uring},
	{"fs.root", probe_root_filesystem},
	{"fs.devshm", probe_shared_memory},
	{"fs.run", probe_run},
	{"fs.store", probe_store},
	{"mem.limit", probe_memory_limit},
	{"lim.nofile", probe_nofile},
	{"prog.snapinit", probe_snapinit},
	{"prog.worker", probe_worker},
	{"criu.version", probe_criu},
	{"trial.wake", probe_trial_wake},
	{.id = NULL},
};

static const char *const status_names[] = {
	[CHECK_OK] = "ok",
	[CHECK_WARN] = "warn",
	[CHECK_FAIL] = "fail",
	[CHECK_SKIP] = "skip",
};

_Static_assert(ARRAY_LEN(status_names) == CHECK_STATUS_MAX_, "every status has a name");

const char *check_status_name(enum check_status status)
{
	return status_names[status];
}

void finding_set(struct finding *finding, enum check_status status, const char *message,
		 const char *remedy)
{
	finding->status = status;
	(void)snprintf(finding->message, sizeof(finding->message), "%s", message);
	(void)snprintf(finding->remedy, sizeof(finding->remedy), "%s", remedy ? remedy : "");
}

void finding_observed(struct finding *finding, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(finding->observed, sizeof(finding->observed), fmt, ap);
	va_end(ap);
}

void finding_required(struct finding *finding, const char *text)
{
	(void)snprintf(finding->required, sizeof(finding->required), "%s", text);
}

void finding_call(struct finding *finding, int r)
{
	const char *name = r < 0 ? strerrorname_np(-r) : "works";

	finding_observed(finding, "%s", name ? name : "unknown error");
}

int check_in_child(int (*fn)(void *arg), void *arg)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(-fn(arg)); /* errnos fit into a status */
	}
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
}
