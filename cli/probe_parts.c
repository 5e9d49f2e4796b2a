/* SPDX-License-Identifier: Apache-2.0 */
/* Are all our programs here, and is CRIU one that will do? */
#include <endian.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#include "cli/checks.h"

#define CRIU_MAJOR 4
#define CRIU_MINOR 2

void probe_criu(const struct doctor *doctor, struct finding *ret)
{
	const struct host *host = &doctor->host;
	int major = 0, minor = 0;

	finding_required(ret, ">= 4.2, answering over swrk");
	if (!host->has_criu) {
		finding_observed(ret, "none");
		finding_set(ret, CHECK_FAIL, host->criu_err.msg,
			    "use the bundle, which brings its own, or --criu PATH");
		return;
	}
	finding_observed(ret, "%s", host->criu_version);
	if (sscanf(host->criu_version, "%d.%d", &major, &minor) != 2 || major < CRIU_MAJOR ||
	    (major == CRIU_MAJOR && minor < CRIU_MINOR))
		finding_set(ret, CHECK_FAIL, "this CRIU is too old", "use the bundle's");
	else
		finding_set(ret, CHECK_OK, host->program.path, NULL);
}

void probe_snapinit(const struct doctor *doctor, struct finding *ret)
{
	finding_required(ret, "snapinit, found from snapctl's place");
	finding_observed(ret, "%.200s", doctor->snapinit[0] ? doctor->snapinit : "none");
	if (doctor->snapinit[0])
		finding_set(ret, CHECK_OK, "found", NULL);
	else
		finding_set(ret, CHECK_FAIL, "there is no snapinit", "--snapinit PATH");
}

/* what execve(2) would give a process of ours: in the file, in the bounding set, effective */
uint64_t probe_worker_caps(const char *worker, const struct fingerprint *here)
{
	struct vfs_ns_cap_data data = {.magic_etc = 0};
	ssize_t n = getxattr(worker, "security.capability", &data, sizeof(data));
	uint64_t caps;

	if (n < (ssize_t)XATTR_CAPS_SZ_2 || here->no_new_privs ||
	    !(le32toh(data.magic_etc) & VFS_CAP_FLAGS_EFFECTIVE))
		return 0;
	caps = (uint64_t)le32toh(data.data[1].permitted) << 32 | le32toh(data.data[0].permitted);
	/* one that the bounding set lacks makes execve fail altogether */
	return (caps & ~here->caps_bounding) == 0 ? caps : 0;
}

void probe_worker(const struct doctor *doctor, struct finding *ret)
{
	bool has_file_caps = getxattr(doctor->worker, "security.capability", NULL, 0) > 0;

	finding_required(ret, "snapworker, found from snapinit's place");
	finding_observed(ret, "%.200s%s", doctor->worker[0] ? doctor->worker : "none",
			 has_file_caps ? ", with file capabilities" : "");
	if (!doctor->worker[0])
		finding_set(ret, CHECK_FAIL, "there is no snapworker, so no capture and no wake",
			    "install the whole bundle");
	else if (doctor->worker_caps != 0)
		finding_set(ret, CHECK_OK, "engines that are not root can be captured too", NULL);
	else if (has_file_caps)
		finding_set(
			ret, CHECK_WARN,
			"snapworker's file capabilities have no effect here, or keep it from "
			"starting: one of them is not in the bounding set, or no_new_privs is set",
			"setcap cap_checkpoint_restore,cap_setpcap=ep on it, and nothing more");
	else
		finding_set(ret, CHECK_OK,
			    "for engines of root; others need file capabilities on it: setcap "
			    "cap_checkpoint_restore,cap_setpcap=ep",
			    NULL);
}
