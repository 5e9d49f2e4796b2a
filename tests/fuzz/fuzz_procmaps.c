/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/task/procmaps.h"

#include "tests/fuzz/fuzz_target.h"

#define PROT_ALL (PROT_READ | PROT_WRITE | PROT_EXEC)

static void check_map(const struct proc_map *map)
{
	FUZZ_CHECK(map->end > map->start);
	FUZZ_CHECK((map->prot & ~PROT_ALL) == 0);
}

/* one line in memory of exactly its size, so that a sanitizer sees a step beyond it */
static void parse_line(const uint8_t *data, size_t size)
{
	snap_cleanup_free char *line = malloc(size + 1);
	struct proc_map map;
	int r;

	FUZZ_CHECK(line);
	memcpy(line, data, size);
	line[size] = '\0';
	r = proc_map_parse(line, size, &map);
	FUZZ_CHECK(r == 0 || r == -EPROTO);
	if (r < 0)
		return;
	check_map(&map);
	FUZZ_CHECK(map.path >= line && map.path + strlen(map.path) <= line + size);
}

/* the same bytes as a file: as many mappings as lines, up to the first bad one */
static void read_file(const uint8_t *data, size_t size)
{
	snap_cleanup_procmaps struct procmaps maps;
	size_t lines = 0, n = 0;
	struct proc_map map;
	int fd = memfd_create("maps", MFD_CLOEXEC), r;

	FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	FUZZ_CHECK(lseek(fd, 0, SEEK_SET) == 0);
	procmaps_init_take(&maps, fd);
	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	while ((r = procmaps_next(&maps, &map)) > 0) {
		check_map(&map);
		FUZZ_CHECK(strlen(map.path) < PROCMAPS_LINE_MAX);
		n++;
	}
	FUZZ_CHECK(r == 0 || r == -EPROTO || r == -ENAMETOOLONG);
	FUZZ_CHECK(r == 0 ? n == lines : n <= lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;

	parse_line(data, end ? (size_t)(end - data) : size);
	read_file(data, size);
	return 0;
}
