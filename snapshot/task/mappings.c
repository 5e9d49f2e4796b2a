/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/mappings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fd.h"
#include "common/io.h"
#include "snapshot/task/procmaps.h"

#define SMAPS_BYTES_MAX (256U << 20) /* 65,530 mappings of 1 KiB each, and long paths */
#define MAPPINGS_MAX	(1U << 20)
#define KIB		1024U

struct flag_name {
	char name[3];
	uint32_t flag;
};

static const struct flag_name flag_names[] = {
	{"gd", MAPPING_GROWSDOWN}, {"lo", MAPPING_LOCKED},  {"ht", MAPPING_HUGETLB},
	{"nh", MAPPING_NO_HUGE},   {"hg", MAPPING_HUGE},    {"pf", MAPPING_SPECIAL},
	{"io", MAPPING_SPECIAL},   {"mm", MAPPING_SPECIAL}, {"ss", MAPPING_SPECIAL},
	{"um", MAPPING_SPECIAL},   {"uw", MAPPING_SPECIAL}, {"ui", MAPPING_SPECIAL},
	{"wf", MAPPING_SPECIAL},   {"dp", MAPPING_SPECIAL},
};

static uint32_t parse_flags(const char *text)
{
	uint32_t flags = 0;

	for (const char *at = text; at[0] != '\0' && at[1] != '\0'; at += at[2] == ' ' ? 3 : 2) {
		for (size_t i = 0; i < ARRAY_LEN(flag_names); i++) {
			if (strncmp(at, flag_names[i].name, 2) == 0)
				flags |= flag_names[i].flag;
		}
	}
	return flags;
}

/* bytes behind "Rss:      132 kB", 0 when line is another one */
static uint64_t take_kib(const char *line, const char *name)
{
	size_t len = strlen(name);

	return strncmp(line, name, len) == 0 ? strtoull(line + len, NULL, 10) * KIB : 0;
}

/* other lines say nothing to us */
static void take_detail(struct mapping *mapping, const char *line)
{
	static const char vm_flags[] = "VmFlags: ";
	uint64_t swap = take_kib(line, "Swap:");

	mapping->resident_bytes += take_kib(line, "Rss:") + swap;
	mapping->anonymous_bytes += take_kib(line, "Anonymous:") + swap;
	if (strncmp(line, vm_flags, sizeof(vm_flags) - 1) == 0)
		mapping->flags = parse_flags(line + sizeof(vm_flags) - 1);
}

/* a detail starts with a capital letter, a mapping with a lower-case hex digit */
static bool is_detail(const char *line)
{
	return line[0] >= 'A' && line[0] <= 'Z';
}

static struct mapping *add(struct mappings *list, size_t *room)
{
	struct mapping *bigger;

	if (list->n == *room) {
		if (*room >= MAPPINGS_MAX)
			return NULL;
		*room = *room ? *room * 2 : 64;
		bigger = reallocarray(list->items, *room, sizeof(*bigger));
		if (!bigger)
			return NULL;
		list->items = bigger;
	}
	bigger = &list->items[list->n++];
	*bigger = (struct mapping){0};
	return bigger;
}

static int parse(struct mappings *list, size_t size, struct snap_error *err)
{
	char *end = list->paths + size, *newline;
	struct mapping *mapping = NULL;
	size_t room = 0;

	for (char *line = list->paths; line < end; line = newline + 1) {
		struct proc_map map;

		newline = memchr(line, '\n', (size_t)(end - line));
		if (!newline)
			return snap_fail_plain(err, SNAP_E_INTERNAL, EPROTO, "smaps: cut short");
		*newline = '\0';
		if (is_detail(line)) {
			if (mapping)
				take_detail(mapping, line);
			continue;
		}
		if (proc_map_parse(line, (size_t)(newline - line), &map) < 0)
			return snap_fail_plain(err, SNAP_E_INTERNAL, EPROTO, "smaps: '%.60s'",
					       line);
		mapping = add(list, &room);
		if (!mapping)
			return snap_fail_plain(err, SNAP_E_INTERNAL, ENOMEM, "too many mappings");
		mapping->start = map.start;
		mapping->end = map.end;
		mapping->offset = map.offset;
		mapping->dev = map.dev;
		mapping->inode = map.inode;
		mapping->prot = map.prot;
		mapping->shared = map.shared;
		mapping->path = map.path;
	}
	return 0;
}

int mappings_load(pid_t pid, struct mappings *ret, struct snap_error *err)
{
	char path[64];
	size_t size;
	int r;

	*ret = (struct mappings){0};
	(void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	r = io_read_file(AT_FDCWD, path, SMAPS_BYTES_MAX, &ret->paths, &size, err);
	if (r == 0)
		r = parse(ret, size, err);
	if (r < 0)
		mappings_done(ret);
	return r;
}

void mappings_done(struct mappings *mappings)
{
	free(mappings->items);
	free(mappings->paths);
	*mappings = (struct mappings){0};
}
