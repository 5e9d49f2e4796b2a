/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_GPU_PROBE_MAPS_H
#define SNAP_TESTS_GPU_PROBE_MAPS_H

/* What of a process can be seen from outside: private anonymous memory, descriptors, threads. */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define MAPS_MAX 4096

struct range {
	uint64_t start, end;
};

struct maps {
	size_t n;
	struct range ranges[MAPS_MAX]; /* writable, private, without a file; ascending */
	size_t n_device;	       /* mappings of /dev/nvidia* */
};

void maps_read(pid_t pid, struct maps *ret);
/* what is in after and not in before, by range */
void maps_subtract(const struct maps *after, const struct maps *before, struct maps *ret);
uint64_t maps_bytes(const struct maps *maps);

/* a field of /proc/PID/status in KiB, as VmRSS; -1 without */
long maps_status_kib(pid_t pid, const char *field);
/* descriptors of /dev/nvidia* */
size_t maps_device_fds(pid_t pid);
/* names of the threads, or what descriptors refer to, with blanks between */
void maps_list(pid_t pid, const char *folder, char *ret, size_t size);

#endif
