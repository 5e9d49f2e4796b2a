/* SPDX-License-Identifier: Apache-2.0 */
#include "maps.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void maps_read(pid_t pid, struct maps *ret)
{
	char path[64], line[4200];
	FILE *file;

	ret->n = ret->n_device = 0;
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file)) {
		struct range range;
		char rights[8];
		unsigned long inode;

		if (strstr(line, "/dev/nvidia"))
			ret->n_device++;
		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %7s %*s %*s %lu", &range.start,
			   &range.end, rights, &inode) != 4)
			continue;
		if (strcmp(rights, "rw-p") == 0 && inode == 0 && ret->n < MAPS_MAX)
			ret->ranges[ret->n++] = range;
	}
	if (file)
		(void)fclose(file);
}

static void add(struct maps *maps, uint64_t start, uint64_t end)
{
	if (start < end && maps->n < MAPS_MAX)
		maps->ranges[maps->n++] = (struct range){start, end};
}

void maps_subtract(const struct maps *after, const struct maps *before, struct maps *ret)
{
	ret->n = ret->n_device = 0;
	for (size_t i = 0, j = 0; i < after->n; i++) {
		uint64_t at = after->ranges[i].start, end = after->ranges[i].end;

		while (j < before->n && before->ranges[j].end <= at)
			j++;
		for (size_t k = j; k < before->n && before->ranges[k].start < end; k++) {
			add(ret, at, before->ranges[k].start);
			at = before->ranges[k].end;
		}
		add(ret, at, end);
	}
}

uint64_t maps_bytes(const struct maps *maps)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < maps->n; i++)
		sum += maps->ranges[i].end - maps->ranges[i].start;
	return sum;
}

long maps_status_kib(pid_t pid, const char *field)
{
	char path[64], line[256];
	size_t length = strlen(field);
	long value = -1;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file && value < 0 && fgets(line, sizeof(line), file)) {
		if (strncmp(line, field, length) == 0 && line[length] == ':')
			value = strtol(line + length + 1, NULL, 10);
	}
	if (file)
		(void)fclose(file);
	return value;
}

/* what entry of folder says: the target of a link, else the text of comm below it */
static void describe(const char *folder, const char *entry, char *ret, size_t size)
{
	char path[512];
	ssize_t n;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, entry);
	n = readlink(path, ret, size - 1);
	if (n >= 0) {
		ret[n] = '\0';
		return;
	}
	(void)snprintf(path, sizeof(path), "%s/%s/comm", folder, entry);
	file = fopen(path, "re");
	if (!file || !fgets(ret, (int)size, file))
		ret[0] = '\0';
	if (file)
		(void)fclose(file);
	ret[strcspn(ret, "\n")] = '\0';
}

void maps_list(pid_t pid, const char *folder, char *ret, size_t size)
{
	char path[64], text[256];
	struct dirent *entry;
	size_t used = 0;
	DIR *dir;

	ret[0] = '\0';
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, folder);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		describe(path, entry->d_name, text, sizeof(text));
		if (used + strlen(text) + 2 > size)
			break;
		used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? " " : "", text);
	}
	if (dir)
		(void)closedir(dir);
}

size_t maps_device_fds(pid_t pid)
{
	static char text[65536];
	size_t n = 0;

	maps_list(pid, "fd", text, sizeof(text));
	for (const char *at = text; (at = strstr(at, "/dev/nvidia")); at++)
		n++;
	return n;
}
