/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/syscall_insn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/task/procmaps.h"

#define PIECE_BYTES 65536U

static const unsigned char insn[SYSCALL_INSN_BYTES] = {0x0f, 0x05};

/* in [start, end) of the process; false when it is not there or cannot be read */
static bool find_between(int mem_fd, uint64_t start, uint64_t end, uint64_t *ret)
{
	unsigned char piece[PIECE_BYTES];

	while (start + sizeof(insn) <= end) {
		size_t want = end - start < sizeof(piece) ? (size_t)(end - start) : sizeof(piece);
		ssize_t n = pread(mem_fd, piece, want, (off_t)start);
		const unsigned char *found;

		if (n < (ssize_t)sizeof(insn))
			return false;
		found = memmem(piece, (size_t)n, insn, sizeof(insn));
		if (found) {
			*ret = start + (uint64_t)(found - piece);
			return true;
		}
		start += (uint64_t)n - (sizeof(insn) - 1); /* it may lie across two pieces */
	}
	return false;
}

static int find_in_maps(pid_t pid, int mem_fd, bool in_vdso, uint64_t *ret)
{
	snap_cleanup_procmaps struct procmaps maps;
	struct proc_map map;
	int r = procmaps_open(&maps, pid);

	if (r < 0)
		return r;
	while ((r = procmaps_next(&maps, &map)) > 0) {
		bool wanted = in_vdso ? strcmp(map.path, "[vdso]") == 0 : map.inode != 0;

		if (wanted && (map.prot & PROT_EXEC) &&
		    find_between(mem_fd, map.start, map.end, ret))
			return 0;
	}
	return r < 0 ? r : -ENOSYS;
}

int syscall_insn_find(pid_t pid, uint64_t hint, uint64_t *ret)
{
	snap_cleanup_close int mem_fd = FD_NONE;
	char path[32];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	mem_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (mem_fd < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if (hint != 0 && find_between(mem_fd, hint, hint + sizeof(insn), ret))
		return 0;
	r = find_in_maps(pid, mem_fd, true, ret);
	if (r == -ENOSYS)
		r = find_in_maps(pid, mem_fd, false, ret);
	return r == -ENOENT ? -ESRCH : r;
}
