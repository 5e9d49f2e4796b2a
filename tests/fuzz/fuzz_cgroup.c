/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "snapshot/cgroup.h"

#include "tests/fuzz/fuzz_target.h"

/*
 * The input, cut at NULs, is what a root file system says about its control groups. However the
 * files are made, what is left is never more than what there is.
 */

static const char *const names[] = {
	"proc/meminfo",	      "proc/self/cgroup",	 "proc/self/mountinfo",
	"m/memory.max",	      "m/memory.current",	 "m/memory.stat",
	"m/g/memory.max",     "m/memory.limit_in_bytes", "m/memory.usage_in_bytes",
	"m/g/memory.current",
};

static char folder[] = "/dev/shm/fuzz_cgroup.XXXXXX";
static int root_fd = FD_NONE;

static void remove_folder(void)
{
	static const char *const folders[] = {"proc/self", "proc", "m/g", "m"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		(void)unlinkat(root_fd, names[i], 0);
	for (size_t i = 0; i < ARRAY_LEN(folders); i++)
		(void)unlinkat(root_fd, folders[i], AT_REMOVEDIR);
	(void)rmdir(folder);
}

static void open_root(void)
{
	FUZZ_CHECK(mkdtemp(folder));
	root_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(root_fd >= 0);
	FUZZ_CHECK(mkdirat(root_fd, "proc", 0700) == 0 && mkdirat(root_fd, "m", 0700) == 0);
	FUZZ_CHECK(mkdirat(root_fd, "proc/self", 0700) == 0 && mkdirat(root_fd, "m/g", 0700) == 0);
	FUZZ_CHECK(atexit(remove_folder) == 0);
}

static void put(const char *name, const uint8_t *data, size_t size)
{
	int fd = openat(root_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)fd_close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t limit = 0, available = 0;
	struct snap_error err = {0};

	if (root_fd < 0)
		open_root();
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const uint8_t *end = size > 0 ? memchr(data, '\0', size) : NULL;
		size_t n = end ? (size_t)(end - data) : size;

		put(names[i], data, n);
		data += n + (end != NULL);
		size -= n + (end != NULL);
	}
	if (cgroup_memory(root_fd, &limit, &available, &err) < 0)
		FUZZ_CHECK(err.code == SNAP_E_PREFLIGHT && err.msg[0]);
	return 0;
}
