/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/rights.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

#ifndef CAP_CHECKPOINT_RESTORE
#	define CAP_CHECKPOINT_RESTORE 40
#endif

#define BIT(cap) (1ULL << (cap))
#define CAPS_MAX 64 /* in a mask; the kernel knows fewer and says where it ends */

/* moby's and containerd's default list */
#define CONTAINER_DEFAULT                                                                        \
	(BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FSETID) | BIT(CAP_FOWNER) |            \
	 BIT(CAP_MKNOD) | BIT(CAP_NET_RAW) | BIT(CAP_SETGID) | BIT(CAP_SETUID) |                 \
	 BIT(CAP_SETFCAP) | BIT(CAP_SETPCAP) | BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_SYS_CHROOT) | \
	 BIT(CAP_KILL) | BIT(CAP_AUDIT_WRITE))

struct set_info {
	const char *name;
	uint64_t wanted; /* UINT64_MAX: whatever there is */
};

static const struct set_info set_infos[] = {
	[RIGHTS_DOCKER] = {"docker", CONTAINER_DEFAULT | BIT(CAP_CHECKPOINT_RESTORE)},
	[RIGHTS_K8S] = {"k8s", CONTAINER_DEFAULT | BIT(CAP_CHECKPOINT_RESTORE)},
	[RIGHTS_FULL] = {"full", UINT64_MAX},
};

_Static_assert(ARRAY_LEN(set_infos) == RIGHTS_MAX_, "every set has a name");

int rights_parse(const char *word, const char *option, enum rights_set *ret, struct snap_error *err)
{
	for (unsigned int i = 0; i < RIGHTS_MAX_; i++) {
		if (strcmp(word, set_infos[i].name) == 0) {
			*ret = (enum rights_set)i;
			return 0;
		}
	}
	return snap_fail_plain(err, SNAP_E_USAGE, EINVAL, "%s: '%s' is not docker, k8s or full",
			       option, word);
}

const char *rights_name(enum rights_set set)
{
	return set_infos[set].name;
}

int rights_held(uint64_t *ret, struct snap_error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};
	uint64_t permitted, bounding = 0;

	if (syscall(SYS_capget, &header, data) < 0)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot read our capabilities");
	permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	for (unsigned long cap = 0; cap < CAPS_MAX; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
			bounding |= BIT(cap);
	}
	*ret = permitted & bounding;
	return 0;
}

uint64_t rights_mask(enum rights_set set, uint64_t held)
{
	return set_infos[set].wanted & held;
}

uint64_t rights_missing(enum rights_set set, uint64_t held)
{
	return set == RIGHTS_FULL ? 0 : set_infos[set].wanted & ~held;
}

int rights_limit(uint64_t mask, struct snap_error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{.effective = (uint32_t)mask, .permitted = (uint32_t)mask},
		{.effective = (uint32_t)(mask >> 32), .permitted = (uint32_t)(mask >> 32)},
	};

	/* the bounding set first: dropping from it needs SETPCAP, which may be about to go */
	for (unsigned long cap = 0; cap < CAPS_MAX; cap++) {
		if ((mask & BIT(cap)) || prctl(PR_CAPBSET_READ, cap, 0, 0, 0) != 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return snap_fail(err, SNAP_E_PREFLIGHT, errno,
					 "cannot give up capability %lu", cap);
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 && errno != EINVAL)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot clear the ambient set");
	if (syscall(SYS_capset, &header, data) < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot limit our capabilities");
	return 0;
}

void rights_format(uint64_t mask, char *buf, size_t size)
{
	size_t used = 0;

	(void)snprintf(buf, size, "none");
	for (int cap = 0; cap < CAPS_MAX; cap++) {
		char *name;
		int n;

		if (!(mask & BIT(cap)))
			continue;
		name = cap_to_name(cap);
		n = snprintf(buf + used, size - used, "%s%s", used > 0 ? "," : "",
			     name ? name : "?");
		(void)cap_free(name);
		if (n < 0 || (size_t)n >= size - used)
			return;
		used += (size_t)n;
	}
}
