/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/task/audit_internal.h"
#include "snapshot/task/procmaps.h"

#define DEV_ZERO makedev(1, 5)

struct map_check {
	struct audit *audit;
	const struct tree_process *process;
	dev_t last_dev; /* one file has many mappings in a row */
	uint64_t last_inode;
	struct procmaps maps;
};

static bool starts(const char *text, const char *prefix)
{
	return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* memory that the kernel gives a name: dumped by content, no path behind it */
static bool is_memory(const struct audit *audit, const struct proc_map *map)
{
	if (map->path[0] == '\0' || map->path[0] == '[' || starts(map->path, "socket:["))
		return true;
	if (!map->deleted)
		return false;
	return map->dev == audit->shmem_dev || starts(map->path, "/[aio]") ||
	       starts(map->path, "/anon_hugepage") || starts(map->path, "/memfd:");
}

/* 0 when it is neither a file nor refused for its name */
static bool is_refused_by_name(const struct map_check *check, const struct proc_map *map)
{
	const char *text = NULL;

	if (map->deleted && map->dev == check->audit->shmem_dev && starts(map->path, "/SYSV"))
		text = "a System V shared memory segment, which CRIU cannot dump here; use POSIX "
		       "shared memory or a memfd";
	else if (map->deleted && strcmp(map->path, "/secretmem") == 0)
		text = "secret memory (memfd_secret), which CRIU cannot read; switch off what uses "
		       "it";
	else if (strcmp(map->path, "anon_inode:[io_uring]") == 0)
		text = "an io_uring ring, which CRIU cannot dump; set UV_USE_IO_URING=0, or turn "
		       "it off in the engine";
	else if (starts(map->path, "anon_inode:"))
		text = "a kernel object, which CRIU cannot dump; unmap it before the capture";
	else if (strcmp(map->path, "[uprobes]") == 0)
		text = "probes of a tracer, which CRIU does not dump; stop the tracer and start "
		       "the engine again";
	if (!text)
		return false;
	if (starts(map->path, "anon_inode:") &&
	    audit_device_will_close(check->audit, check->process))
		return true;
	audit_find_inherited(check->audit, check->process, "maps '%.60s' at %" PRIx64 ", %s",
			     map->path, map->start, text);
	return true;
}

static bool is_refused_device(const struct map_check *check, const struct proc_map *map,
			      const struct stat *st)
{
	if (S_ISREG(st->st_mode) || (S_ISCHR(st->st_mode) && st->st_rdev == DEV_ZERO))
		return false;
	if (audit_device_will_close(check->audit, check->process))
		return true;
	audit_find_inherited(check->audit, check->process,
			     "maps the device '%.120s' at %" PRIx64 ", which CRIU cannot dump; %s",
			     map->path, map->start, audit_device_cure(map->path));
	return true;
}

/* CRIU has no access to map_files either: it can only open the path */
static void check_by_path(const struct map_check *check, const struct proc_map *map)
{
	struct stat st;

	if (!map->deleted && stat(map->path, &st) == 0 && st.st_ino == map->inode) {
		(void)is_refused_device(check, map, &st);
		return;
	}
	audit_find(check->audit, check->process,
		   "maps '%.120s' at %" PRIx64 ", a file that is no longer at its path, which CRIU "
		   "can only dump with CHECKPOINT_RESTORE in the first user namespace; keep the "
		   "file",
		   map->path, map->start);
}

static void check_file(const struct map_check *check, const struct proc_map *map)
{
	snap_cleanup_close int fd = FD_NONE;
	char path[96], link[AUDIT_LINK_MAX];
	struct statfs fs;
	struct stat st;
	long mount_id;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64,
		       (int)check->process->pid, map->start, map->end);
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0 && (errno == EPERM || errno == EACCES)) {
		check_by_path(check, map);
		return;
	}
	if (fd < 0 || fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return; /* unmapped meanwhile */
	if (is_refused_device(check, map, &st))
		return;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0 || audit_fdinfo(getpid(), fd, "mnt_id", 10, &mount_id) < 0)
		return;
	link[n] = '\0';
	audit_path(check->audit, check->process, "maps", link, &st, fs.f_type, (int)mount_id);
}

static int check_map(const struct map_check *check, const struct proc_map *map)
{
	if (is_refused_by_name(check, map))
		return 0;
	if (!is_memory(check->audit, map))
		check_file(check, map);
	else if (map->deleted && map->dev == check->audit->shmem_dev)
		return audit_memfd_mapped(check->audit, check->process, map);
	return 0;
}

int audit_maps(struct audit *audit, const struct tree_process *process)
{
	struct map_check check = {.audit = audit, .process = process};
	struct proc_map map;
	int r, told = 0;

	r = procmaps_open(&check.maps, process->pid);
	if (r < 0)
		return audit_cannot_read(audit, process, -r, "mappings");
	while ((r = procmaps_next(&check.maps, &map)) > 0) {
		if (map.path[0] == '\0')
			continue;
		if (map.path[0] == '/' && map.inode == check.last_inode &&
		    map.dev == check.last_dev)
			continue;
		check.last_inode = map.inode;
		check.last_dev = map.dev;
		told = check_map(&check, &map);
		if (told < 0)
			break;
	}
	procmaps_close(&check.maps);
	if (told < 0)
		return told;
	return r < 0 ? audit_cannot_read(audit, process, -r, "mappings") : 0;
}
