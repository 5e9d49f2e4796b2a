/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/procmaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/fd.h"

#define DELETED " (deleted)"

/* at least one digit of the given base, at most max, then the byte `stop` (NUL: the end) */
static bool take_number(const char **at, unsigned int base, uint64_t max, char stop, uint64_t *ret)
{
	const char *p = *at;
	uint64_t value = 0;

	for (;; p++) {
		unsigned int digit;

		if (*p >= '0' && *p <= '9')
			digit = (unsigned int)(*p - '0');
		else if (base == 16 && *p >= 'a' && *p <= 'f')
			digit = (unsigned int)(*p - 'a') + 10;
		else
			break;
		if (value > (max - digit) / base)
			return false;
		value = value * base + digit;
	}
	if (p == *at || *p != stop)
		return false;
	*at = stop ? p + 1 : p;
	*ret = value;
	return true;
}

/* "rwxp " */
static bool take_permissions(const char **at, struct proc_map *ret)
{
	static const int bits[] = {PROT_READ, PROT_WRITE, PROT_EXEC};
	const char *p = *at;

	for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
		if (p[i] == "rwx"[i])
			ret->prot |= bits[i];
		else if (p[i] != '-')
			return false;
	}
	if ((p[3] != 'p' && p[3] != 's') || p[4] != ' ')
		return false;
	ret->shared = p[3] == 's';
	*at = p + 5;
	return true;
}

static bool take_columns(const char **at, struct proc_map *ret)
{
	uint64_t major_nr, minor_nr;

	if (!take_number(at, 16, UINT64_MAX, '-', &ret->start) ||
	    !take_number(at, 16, UINT64_MAX, ' ', &ret->end) || ret->end <= ret->start ||
	    !take_permissions(at, ret) || !take_number(at, 16, UINT64_MAX, ' ', &ret->offset) ||
	    !take_number(at, 16, UINT32_MAX, ':', &major_nr) ||
	    !take_number(at, 16, UINT32_MAX, ' ', &minor_nr))
		return false;
	ret->dev = makedev((unsigned int)major_nr, (unsigned int)minor_nr);

	/* the inode ends in a blank even without a path, but not in all kernels */
	return take_number(at, 10, UINT64_MAX, ' ', &ret->inode) ||
	       take_number(at, 10, UINT64_MAX, '\0', &ret->inode);
}

static void unescape_newlines(char *path)
{
	char *to = path;

	for (const char *from = path; *from != '\0';) {
		if (strncmp(from, "\\012", 4) == 0) {
			*to++ = '\n';
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

int proc_map_parse(char *line, size_t len, struct proc_map *ret)
{
	struct proc_map map = {0};
	const char *at = line;
	size_t path_len;
	char *path;

	if (strlen(line) != len || !take_columns(&at, &map))
		return -EPROTO;

	path = line + (at - line);
	path += strspn(path, " ");
	path_len = strlen(path);
	if (path_len > strlen(DELETED) && strcmp(path + path_len - strlen(DELETED), DELETED) == 0) {
		map.deleted = true;
		path[path_len - strlen(DELETED)] = '\0';
	}
	unescape_newlines(path);
	map.path = path;
	*ret = map;
	return 0;
}

void procmaps_init_take(struct procmaps *ret, int fd)
{
	ret->fd = fd;
	ret->end_of_file = false;
	ret->at = 0;
	ret->used = 0;
}

int procmaps_open(struct procmaps *ret, pid_t pid)
{
	char path[32];
	int fd;

	procmaps_init_take(ret, FD_NONE);
	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret->fd = fd;
	return 0;
}

void procmaps_close(struct procmaps *maps)
{
	maps->fd = fd_close(maps->fd);
}

/* more bytes behind those not yet given out; 0 or -errno */
static int fill(struct procmaps *maps)
{
	ssize_t n;

	memmove(maps->buf, maps->buf + maps->at, maps->used - maps->at);
	maps->used -= maps->at;
	maps->at = 0;
	if (maps->used == sizeof(maps->buf))
		return -ENAMETOOLONG;
	do {
		n = read(maps->fd, maps->buf + maps->used, sizeof(maps->buf) - maps->used);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	maps->used += (size_t)n;
	maps->end_of_file = n == 0;
	return 0;
}

int procmaps_next(struct procmaps *maps, struct proc_map *ret)
{
	for (;;) {
		char *line = maps->buf + maps->at;
		char *end = memchr(line, '\n', maps->used - maps->at);
		int r;

		if (end) {
			*end = '\0';
			maps->at = (size_t)(end - maps->buf) + 1;
			r = proc_map_parse(line, (size_t)(end - line), ret);
			return r < 0 ? r : 1;
		}
		if (maps->end_of_file)
			return maps->at == maps->used ? 0 : -EPROTO;
		r = fill(maps);
		if (r < 0)
			return r;
	}
}
