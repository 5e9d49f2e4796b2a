/* SPDX-License-Identifier: Apache-2.0 */

/*
 * /proc/self/cgroup names our group within each hierarchy, /proc/self/mountinfo says where that
 * hierarchy is mounted and which of its folders is the mount's root. Every folder from our group
 * up to the mount point may hold a limit; folders above it, which a container does not see, may
 * hold smaller ones that nobody can know.
 */

#include "snapshot/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/io.h"
#include "common/parse.h"

#define PROC_FILE_MAX (4U << 20)   /* mountinfo of a host with many containers */
#define NO_LIMIT      (1ULL << 60) /* v1 says PAGE_COUNTER_MAX, about 2^63, when there is none */
#define LEVELS_MAX    64

/* the names that the two versions have for the same things */
struct version {
	const char *limit_file;
	const char *usage_file;
	const char *cache_keys[2]; /* in memory.stat, as the following */
	const char *held_keys[2];
};

static const struct version v1 = {"memory.limit_in_bytes",
				  "memory.usage_in_bytes",
				  {"total_active_file", "total_inactive_file"},
				  {"total_dirty", "total_writeback"}};
static const struct version v2 = {"memory.max",
				  "memory.current",
				  {"active_file", "inactive_file"},
				  {"file_dirty", "file_writeback"}};

/* the number behind key at the start of a line, 0 when there is none */
static uint64_t find_number(const char *text, const char *key)
{
	size_t len = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) == 0 && (line[len] == ' ' || line[len] == ':'))
			return strtoull(line + len + 1, NULL, 10);
	}
	return 0;
}

/*
 * What the kernel drops before it kills anybody: the page cache of files, read once or often,
 * mapped or not. Files on a tmpfs and locked pages are on lists of their own and so never among it.
 * What is still to be written to a disk is there, but not gone before the disk has it: not counted.
 */
static uint64_t droppable_bytes(const char *stat, const struct version *version)
{
	uint64_t bytes = 0, held = 0;

	for (int i = 0; i < 2; i++) {
		uint64_t cache = find_number(stat, version->cache_keys[i]);
		uint64_t waiting = find_number(stat, version->held_keys[i]);

		if (__builtin_add_overflow(bytes, cache, &bytes) ||
		    __builtin_add_overflow(held, waiting, &held))
			return 0;
	}
	return bytes > held ? bytes - held : 0;
}

static void apply_group(int fd, const struct version *version, uint64_t *limit, uint64_t *available)
{
	char text[16384];
	uint64_t max, usage, droppable = 0, used;

	if (io_read_line(fd, version->limit_file, text, sizeof(text)) < 0 ||
	    parse_u64(text, &max) < 0 || max >= NO_LIMIT)
		return;
	if (max < *limit)
		*limit = max;
	if (io_read_line(fd, version->usage_file, text, sizeof(text)) < 0 ||
	    parse_u64(text, &usage) < 0)
		return;
	if (io_read_line(fd, "memory.stat", text, sizeof(text)) > 0)
		droppable = droppable_bytes(text, version);
	used = usage > droppable ? usage - droppable : 0;
	if (max < used)
		*available = 0;
	else if (max - used < *available)
		*available = max - used;
}

/* path from group up to its root, each step applied; group is changed */
static void apply_groups(int mount_fd, char *group, const struct version *version, uint64_t *limit,
			 uint64_t *available)
{
	for (int level = 0; level < LEVELS_MAX; level++) {
		snap_cleanup_close int fd = FD_NONE;
		char *slash;

		while (*group == '/')
			memmove(group, group + 1, strlen(group));
		fd = openat(mount_fd, *group ? group : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			apply_group(fd, version, limit, available);
		if (*group == '\0')
			return;
		slash = strrchr(group, '/');
		*(slash ? slash : group) = '\0';
	}
}

/* does the comma list hold the word? */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (;;) {
		size_t n = strcspn(list, ",");

		if (n == len && memcmp(list, word, n) == 0)
			return true;
		if (list[n] == '\0')
			return false;
		list += n + 1;
	}
}

/*
 * One line of mountinfo: "36 35 98:0 ROOT POINT rw,noatime master:1 - TYPE SOURCE OPTIONS". True
 * when it is the hierarchy we look for; root and point then point into line.
 */
static bool is_hierarchy(char *line, bool want_v2, char **ret_root, char **ret_point)
{
	char *rest = strstr(line, " - "), *save = NULL, *type, *options;
	int field = 0;

	if (!rest)
		return false;
	*rest = '\0';
	rest += 3;
	for (char *word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (field == 3)
			*ret_root = word;
		if (field == 4)
			*ret_point = word;
		field++;
	}
	if (field < 5)
		return false;
	type = strtok_r(rest, " ", &save);
	(void)strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, " ", &save);
	if (!type || !options)
		return false;
	if (want_v2)
		return strcmp(type, "cgroup2") == 0;
	return strcmp(type, "cgroup") == 0 && has_word(options, "memory");
}

/* group as seen from the mount: what is below root; the mount point itself where it is elsewhere */
static char *strip_root(char *group, const char *root)
{
	size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);

	if (strstr(group, "/..") || strncmp(group, root, len) != 0 ||
	    (group[len] != '/' && group[len] != '\0'))
		return group + strlen(group);
	return group + len;
}

static void apply_hierarchy(int root_fd, const char *mountinfo, char *group, bool is_v2,
			    uint64_t *limit, uint64_t *available)
{
	snap_cleanup_free char *copy = strdup(mountinfo);
	char *save = NULL;

	if (!copy)
		return;
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		snap_cleanup_close int fd = FD_NONE;
		char *root = NULL, *point = NULL;

		if (!is_hierarchy(line, is_v2, &root, &point))
			continue;
		point += strspn(point, "/");
		fd = openat(root_fd, *point ? point : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			apply_groups(fd, strip_root(group, root), is_v2 ? &v2 : &v1, limit,
				     available);
		return;
	}
}

/* one line of /proc/self/cgroup: "ID:CONTROLLERS:GROUP", "0::GROUP" for v2 */
static void apply_line(int root_fd, const char *mountinfo, char *line, uint64_t *limit,
		       uint64_t *available)
{
	char *controllers = strchr(line, ':'), *group;

	group = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!group)
		return;
	*group++ = '\0';
	controllers++;
	if (*controllers == '\0')
		apply_hierarchy(root_fd, mountinfo, group, true, limit, available);
	else if (has_word(controllers, "memory"))
		apply_hierarchy(root_fd, mountinfo, group, false, limit, available);
}

int cgroup_memory(int root_fd, uint64_t *ret_limit, uint64_t *ret_available, struct snap_error *err)
{
	snap_cleanup_free char *groups = NULL, *mountinfo = NULL;
	char meminfo[8192], *save = NULL;
	uint64_t limit, available;
	size_t size;

	if (io_read_line(root_fd, "proc/meminfo", meminfo, sizeof(meminfo)) <= 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, ENODATA, "cannot read '/proc/meminfo'");
	limit = find_number(meminfo, "MemTotal") * 1024;
	available = find_number(meminfo, "MemAvailable") * 1024;

	/* no control groups is no failure: then the machine is the limit */
	if (io_read_file(root_fd, "proc/self/cgroup", PROC_FILE_MAX, &groups, &size, NULL) == 0 &&
	    io_read_file(root_fd, "proc/self/mountinfo", PROC_FILE_MAX, &mountinfo, &size, NULL) ==
		    0) {
		for (char *line = strtok_r(groups, "\n", &save); line;
		     line = strtok_r(NULL, "\n", &save))
			apply_line(root_fd, mountinfo, line, &limit, &available);
	}
	*ret_limit = limit;
	*ret_available = available;
	return 0;
}
