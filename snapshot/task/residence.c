/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/residence.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/io.h"

#define KIB 1024U

/* *ret grows by the bytes behind "key:  132 kB"; false when there is no such line */
static bool add_kib(const char *text, const char *key, uint64_t *ret)
{
	const char *at = strstr(text, key);

	if (!at)
		return false;
	*ret += strtoull(at + strlen(key), NULL, 10) * KIB;
	return true;
}

/* a Pss is a share of what others have too: over all of them it adds up to the whole */
static bool add_process(pid_t pid, uint64_t *ret)
{
	static const char *const keys[] = {"\nPss_Anon:", "\nPss_Shmem:", "\nSwapPss:"};
	char path[40], text[2048];

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	if (io_read_line(AT_FDCWD, path, text, sizeof(text)) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!add_kib(text, keys[i], ret))
			return false;
	}
	return true;
}

uint64_t residence_bytes(const struct task_tree *tree)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < tree->n_processes; i++) {
		if (!tree->processes[i].zombie && !add_process(tree->processes[i].pid, &bytes))
			return tree->resident_bytes;
	}
	return bytes;
}
