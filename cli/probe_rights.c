/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "cli/checks.h"
#include "common/cleanup.h"

#ifndef CAP_CHECKPOINT_RESTORE
#	define CAP_CHECKPOINT_RESTORE 40
#endif

/* "held", "held by snapworker", "not held" */
static const char *holder(const struct doctor *doctor, int cap)
{
	if ((doctor->host.fingerprint.caps_effective >> cap) & 1)
		return "held";
	return doctor_has_cap(doctor, cap) ? "held by snapworker" : "not held";
}

void probe_cap_checkpoint(const struct doctor *doctor, struct finding *ret)
{
	finding_observed(ret, "CHECKPOINT_RESTORE %s, SYS_ADMIN %s",
			 holder(doctor, CAP_CHECKPOINT_RESTORE), holder(doctor, CAP_SYS_ADMIN));
	finding_required(ret, "CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN");
	if (doctor_has_cap(doctor, CAP_CHECKPOINT_RESTORE) || doctor_has_cap(doctor, CAP_SYS_ADMIN))
		finding_set(ret, CHECK_OK, "processes may be dumped and restored", NULL);
	else
		finding_set(ret, CHECK_FAIL, "nothing can be dumped or restored",
			    "docker/podman: --cap-add CHECKPOINT_RESTORE; Kubernetes: "
			    "securityContext.capabilities.add; not root: file capabilities on "
			    "snapworker too");
}

void probe_cap_setpcap(const struct doctor *doctor, struct finding *ret)
{
	finding_observed(ret, "%s", holder(doctor, CAP_SETPCAP));
	finding_required(ret, "CAP_SETPCAP");
	if (doctor_has_cap(doctor, CAP_SETPCAP))
		finding_set(ret, CHECK_OK, "a restored process gets its bounding set back", NULL);
	else
		finding_set(ret, CHECK_FAIL,
			    "CRIU's restorer cannot set the bounding set and would hang",
			    "do not drop SETPCAP; it is in Docker's default set");
}

static const struct {
	const char *setting;
	enum check_status status;
	const char *message;
	const char *remedy;
} settings[] = {
	{"A", CHECK_OK,
	 "privileged: capture and wake, open connections too, time goes on without a jump", NULL},
	{"B", CHECK_OK, "like Docker's defaults and CHECKPOINT_RESTORE: capture and wake", NULL},
	{"C", CHECK_WARN,
	 "a seccomp filter is on this container: wakes only, of snapshots made without one",
	 "to capture here: --security-opt seccomp=unconfined; or make snapshots elsewhere with "
	 "snapctl create"},
	{"none", CHECK_FAIL, "no snapshots, engines always boot cold",
	 "see cap.ckpt and cap.setpcap"},
};

/* snapworker's, where its file capabilities make the difference */
const char *doctor_setting(const struct doctor *doctor)
{
	const struct fingerprint *here = &doctor->host.fingerprint;

	if (strcmp(here->setting, "none") != 0 || !doctor_has_cap(doctor, CAP_SETPCAP) ||
	    !doctor_has_cap(doctor, CAP_CHECKPOINT_RESTORE))
		return here->setting;
	return here->seccomp_filter ? "C" : "B";
}

void probe_setting(const struct doctor *doctor, struct finding *ret)
{
	const char *setting = doctor_setting(doctor);

	finding_observed(ret, "setting %s", setting);
	finding_required(ret, "A or B to capture, A, B or C to wake");
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		if (strcmp(setting, settings[i].setting) == 0)
			finding_set(ret, settings[i].status, settings[i].message,
				    settings[i].remedy);
	}
}

void probe_seccomp(const struct doctor *doctor, struct finding *ret)
{
	bool filter = doctor->host.fingerprint.seccomp_filter;

	finding_observed(ret, "%s", filter ? "a filter is on us" : "no filter");
	finding_required(ret, "no filter to capture; none is needed to wake");
	if (filter)
		finding_set(ret, CHECK_WARN, "CRIU cannot dump under a seccomp filter",
			    "--security-opt seccomp=unconfined for the container that captures");
	else
		finding_set(ret, CHECK_OK, "captures are possible", NULL);
}

void probe_no_new_privs(const struct doctor *doctor, struct finding *ret)
{
	bool set = doctor->host.fingerprint.no_new_privs;

	finding_observed(ret, "no_new_privs is %s", set ? "set" : "not set");
	finding_required(ret, "not set, for engines that are not root");
	if (set)
		finding_set(ret, CHECK_WARN,
			    "snapworker's file capabilities have no effect: only engines of root "
			    "can be captured or woken",
			    "Kubernetes: allowPrivilegeEscalation: true; docker: without "
			    "--security-opt no-new-privileges");
	else
		finding_set(ret, CHECK_OK, "file capabilities have effect", NULL);
}

static int make_container(void *arg)
{
	(void)arg;
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	return 0;
}

static int make_user_namespace(void *arg)
{
	(void)arg;
	if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) < 0)
		return -errno;
	/* some systems make the namespace and then give no rights in it */
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

void probe_namespaces(const struct doctor *doctor, struct finding *ret)
{
	int r = check_in_child(make_container, NULL);

	(void)doctor;
	finding_call(ret, r);
	finding_required(ret, "pid and mount namespaces, for snapctl create, run, verify --wake");
	if (r == 0)
		finding_set(ret, CHECK_OK, "snapctl can make containers", NULL);
	else if (r == -EPERM && check_in_child(make_user_namespace, NULL) == 0)
		finding_set(ret, CHECK_OK,
			    "snapctl makes its containers in a user namespace: setting B in there, "
			    "whatever the setting is here",
			    NULL);
	else
		finding_set(ret, CHECK_WARN,
			    "snapctl create, run and verify --wake do not work here; snapinit in a "
			    "container of its own does not need this",
			    "run as root, or with --cap-add SYS_ADMIN");
}

void probe_user_namespace(const struct doctor *doctor, struct finding *ret)
{
	int r = check_in_child(make_user_namespace, NULL);

	(void)doctor;
	finding_call(ret, r);
	finding_required(ret, "nothing with root; else snapctl create and run need it");
	if (r == 0)
		finding_set(ret, CHECK_OK, "available", NULL);
	else
		finding_set(ret, CHECK_WARN, "snapctl makes no containers without root",
			    "kernel.unprivileged_userns_clone=1, user.max_user_namespaces > 0, "
			    "kernel.apparmor_restrict_unprivileged_userns=0");
}
