/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last word: a small engine of our own is captured and woken by what `snapctl create` does,
 * with the rights that we have here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/create.h"
#include "cli/output.h"
#include "common/fd.h"
#include "snapshot/folder.h"

#define TRIAL_TIMEOUT_MS 60000

/* a loopback port that is free now; 0: none. The engine listens on it a moment later */
static int free_port(void)
{
	snap_cleanup_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof(address);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		return 0;
	return ntohs(address.sin_port);
}

static int try_in(const struct doctor *doctor, const char *store, struct create_result *ret,
		  struct snap_error *err)
{
	char self[PATH_MAX], verb[] = "__trial-engine", number[16], ready[64], oracle[64];
	char *const command[] = {self, verb, number, NULL};
	struct create_spec spec = {
		.place = {.rights = RIGHTS_FULL,
			  .criu = doctor->criu,
			  .out_fd = FD_NONE,
			  .log_level = "info"},
		.engine = {.adapter = "http",
			   .ready = ready,
			   .ready_timeout = "20s",
			   .warmup = "0",
			   .oracle = oracle,
			   .command = command},
		.store = store,
		.verify = true,
		.timeout_ms = TRIAL_TIMEOUT_MS,
	};
	bool was_quiet = output_is_quiet();
	struct attend attend;
	int port = free_port(), r;

	if (port == 0)
		return snap_fail_plain(err, SNAP_E_PREFLIGHT, EADDRNOTAVAIL,
				       "no free loopback port");
	memcpy(self, doctor->self, sizeof(self));
	memcpy(spec.place.snapinit, doctor->snapinit, sizeof(spec.place.snapinit));
	(void)snprintf(number, sizeof(number), "%d", port);
	(void)snprintf(ready, sizeof(ready), "http://127.0.0.1:%d/health", port);
	(void)snprintf(oracle, sizeof(oracle), "GET http://127.0.0.1:%d/sum", port);
	r = attend_begin(&attend, err);
	if (r < 0)
		return r;
	output_set_quiet(true);
	r = create_run(&spec, &attend, ret, err);
	output_set_quiet(was_quiet);
	attend_end(&attend);
	return r;
}

static void remove_folder(char *dir)
{
	snap_cleanup_close int parent_fd = FD_NONE;
	char *slash = strrchr(dir, '/');

	*slash = '\0';
	parent_fd = open(dir[0] ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent_fd < 0 || folder_remove(parent_fd, slash + 1) < 0)
		output_warning("'%s/%s' could not be removed", dir, slash + 1);
}

static void run_trial(const struct doctor *doctor, struct finding *ret)
{
	const char *tmp = getenv("TMPDIR");
	struct snap_error err = {.code = SNAP_OK};
	struct create_result result = {.verified = false};
	char dir[PATH_MAX], store[PATH_MAX + 16], size[OUTPUT_SIZE_MAX];
	int r;

	(void)snprintf(dir, sizeof(dir), "%s/snapctl.doctor.XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
	if (!mkdtemp(dir)) {
		finding_observed(ret, "no temporary folder");
		finding_set(ret, CHECK_SKIP, "cannot make a folder for the trial",
			    "TMPDIR must be writable");
		return;
	}
	(void)snprintf(store, sizeof(store), "%s/store", dir);
	r = try_in(doctor, store, &result, &err);
	remove_folder(dir);
	if (r < 0) {
		finding_observed(ret, "%s", snap_code_name(err.code));
		finding_set(ret, CHECK_FAIL, err.msg, "see the checks above");
		return;
	}
	finding_observed(ret, "captured %s, woke in %u ms", output_size(result.bytes, size),
			 (unsigned int)result.wake_ms);
	finding_set(ret, CHECK_OK, "an engine was captured, woken, and answered as before", NULL);
}

void probe_trial_wake(const struct doctor *doctor, struct finding *ret)
{
	finding_required(ret, "capture and wake of a 1 MiB engine");
	if (!doctor->trial)
		finding_set(ret, CHECK_SKIP, "not wanted (--no-trial)", NULL);
	else if (!doctor->host.has_criu || !doctor->snapinit[0])
		finding_set(ret, CHECK_SKIP, "needs CRIU and snapinit", NULL);
	else if (strcmp(doctor_setting(doctor), "A") != 0 &&
		 strcmp(doctor_setting(doctor), "B") != 0)
		finding_set(ret, CHECK_SKIP, "nothing can be captured in this setting",
			    "see cap.admin");
	else if (!((doctor->host.fingerprint.caps_effective >> CAP_SYS_ADMIN) & 1))
		finding_set(ret, CHECK_SKIP, "we cannot make a container for it", "see sys.mount");
	else
		run_trial(doctor, ret);
}
