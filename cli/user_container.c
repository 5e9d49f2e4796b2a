/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/user_container.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/output.h"
#include "common/user_namespace.h"

/* what the child tells; lies in memory of both */
struct outcome {
	int result;
	struct snap_error err;
};

/* the next child is PID 1 */
static int make_namespaces(void)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0)
		return -errno;
	return user_namespace_map_root(uid, gid);
}

static int mount_proc(void)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return -errno;
	return 0;
}

static int mount_proc_in_child(void *arg)
{
	(void)arg;
	return mount_proc();
}

static int try_all(void *arg)
{
	int r = make_namespaces();

	(void)arg;
	return r < 0 ? r : check_in_child(mount_proc_in_child, NULL);
}

bool user_container_is_needed(const struct fingerprint *here)
{
	return strcmp(here->setting, "none") == 0 && geteuid() != 0 &&
	       check_in_child(try_all, NULL) == 0;
}

static void __attribute__((noreturn))
run_child(int (*fn)(void *arg, struct snap_error *err), void *arg, struct outcome *ret)
{
	int r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = mount_proc();
	if (r < 0)
		r = snap_fail(&ret->err, SNAP_E_PREFLIGHT, -r, "cannot mount /proc");
	else
		r = fn(arg, &ret->err);
	if (output_finish(r < 0 ? NULL : &ret->err) < 0 && r >= 0)
		r = -EIO;
	ret->result = r;
	_exit(0);
}

int user_container_run(int (*fn)(void *arg, struct snap_error *err), void *arg,
		       struct snap_error *err)
{
	struct outcome *outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int r, status = 0;
	pid_t pid;

	if (outcome == MAP_FAILED)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot share memory");
	(void)snap_fail_plain(&outcome->err, SNAP_E_INTERNAL, 0, "what ran in there was killed");
	outcome->result = -ECHILD;
	r = make_namespaces();
	if (r < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, -r, "cannot make a user namespace");
	(void)fflush(stdout);
	pid = fork();
	if (pid == 0)
		run_child(fn, arg, outcome);
	if (pid < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot fork");
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	r = outcome->result;
	if (r < 0 && err)
		*err = outcome->err;
	(void)munmap(outcome, sizeof(*outcome));
	return r;
}
