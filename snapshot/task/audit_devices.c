/* SPDX-License-Identifier: Apache-2.0 */
#include <linux/kdev_t.h>
#include <linux/major.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "common/cleanup.h"
#include "snapshot/task/audit_internal.h"

#define MISC_AUTOFS 235

struct device_cure {
	const char *prefix;
	const char *cure;
};

static const struct device_cure device_cures[] = {
	{"/dev/nvidia", "checkpoint the GPU first and close NVML handles"},
	{"/dev/gdrdrv", "close GDRCopy handles before the capture"},
	{"/dev/infiniband", "keep the engine off RDMA (NCCL_IB_DISABLE=1)"},
	{"/dev/dri", "only CUDA GPUs can be captured"},
	{"/dev/kfd", "only CUDA GPUs can be captured"},
	{"/dev/fuse", "run FUSE servers outside the engine's tree"},
	{"/dev/userfaultfd", "switch off what handles page faults in user space"},
	{"/dev/net/tun", "run tunnels outside the engine's tree"},
};

bool audit_device_is_dumped(dev_t device, bool block)
{
	unsigned int nr = minor(device);

	if (block)
		return false;
	switch (major(device)) {
	case MEM_MAJOR: /* null, zero, full, random, urandom, kmsg */
		return true;
	case MISC_MAJOR:
		return nr == MISC_AUTOFS;
	case TTYAUX_MAJOR: /* tty, console, ptmx */
		return nr <= 2;
	case TTY_MAJOR: /* virtual consoles; from 64 on serial lines */
		return nr >= 1 && nr < 64;
	case UNIX98_PTY_MASTER_MAJOR ... UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT - 1:
		return true;
	default:
		return false;
	}
}

static bool has_device(const struct audit *audit, pid_t pid)
{
	for (size_t i = 0; i < audit->rights->n_device_pids; i++) {
		if (audit->rights->device_pids[i] == pid)
			return true;
	}
	return false;
}

bool audit_device_will_close(const struct audit *audit, const struct tree_process *process)
{
	return has_device(audit, process->pid);
}

bool audit_device_is_inherited(const struct audit *audit, const struct tree_process *process)
{
	return !has_device(audit, process->pid) && has_device(audit, process->ppid);
}

const char *audit_device_cure(const char *link)
{
	for (size_t i = 0; i < ARRAY_LEN(device_cures); i++) {
		if (strncmp(link, device_cures[i].prefix, strlen(device_cures[i].prefix)) == 0)
			return device_cures[i].cure;
	}
	return "close it before the capture";
}
