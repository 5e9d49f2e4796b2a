/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/ambient.h"

#include <errno.h>
#include <linux/capability.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"

static const int wanted[] = {CAP_CHECKPOINT_RESTORE, CAP_SETPCAP, CAP_SYS_PTRACE};

int ambient_raise(struct snap_error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (geteuid() == 0)
		return 0;
	/* file capabilities closed /proc/self to us; CRIU and we read it */
	(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	if (syscall(SYS_capget, &header, data) < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot read capabilities");
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		unsigned int word = (unsigned int)wanted[i] / 32, bit = 1U << (wanted[i] % 32);

		if (data[word].permitted & bit) {
			data[word].inheritable |= bit;
			data[word].effective |= bit;
		}
	}
	if (syscall(SYS_capset, &header, data) < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno,
				 "cannot make capabilities inheritable");
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		unsigned int word = (unsigned int)wanted[i] / 32, bit = 1U << (wanted[i] % 32);

		if ((data[word].permitted & bit) &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, wanted[i], 0, 0) < 0)
			return snap_fail(err, SNAP_E_PREFLIGHT, errno,
					 "cannot hand capability %d to CRIU", wanted[i]);
	}
	return 0;
}
