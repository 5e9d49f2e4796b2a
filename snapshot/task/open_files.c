/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/open_files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "snapshot/task/procmaps.h"

#define OPEN_FILES_MAX 65536U

void open_files_done(struct open_files *files)
{
	for (size_t i = 0; i < files->n; i++)
		free(files->items[i].path);
	free(files->items);
	*files = (struct open_files){0};
}

/* by name too: a hard link's other name is another file to a fresh container */
static struct open_file *find(struct open_files *files, const char *path, const struct stat *st)
{
	for (size_t i = 0; i < files->n; i++) {
		if (files->items[i].st.st_ino == st->st_ino &&
		    files->items[i].st.st_dev == st->st_dev &&
		    strcmp(files->items[i].path, path) == 0)
			return &files->items[i];
	}
	return NULL;
}

/* file systems whose files are the kernel's own */
static bool is_kernel_fs(const char *path)
{
	static const long kernel_fs[] = {
		PROC_SUPER_MAGIC,	 SYSFS_MAGIC,	     CGROUP_SUPER_MAGIC,
		CGROUP2_SUPER_MAGIC,	 DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC,
		TRACEFS_MAGIC,		 NSFS_MAGIC,	     ANON_INODE_FS_MAGIC,
		0x50495045 /* pipefs */,
	};
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return true;
	for (size_t i = 0; i < ARRAY_LEN(kernel_fs); i++) {
		if ((long)fs.f_type == kernel_fs[i])
			return true;
	}
	return false;
}

/* *ret is the entry for path, NULL when it is none of ours (gone, no file, a kernel file) */
static int note(struct open_files *files, const char *path, struct open_file **ret)
{
	struct open_file *bigger;
	struct stat st;

	*ret = NULL;
	if (path[0] != '/' || lstat(path, &st) < 0 || !S_ISREG(st.st_mode) || is_kernel_fs(path))
		return 0;
	*ret = find(files, path, &st);
	if (*ret)
		return 0;
	if (files->n >= OPEN_FILES_MAX)
		return -E2BIG;
	bigger = reallocarray(files->items, files->n + 1, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	files->items = bigger;
	bigger += files->n;
	*bigger = (struct open_file){.path = strdup(path), .st = st, .append = true};
	if (!bigger->path)
		return -ENOMEM;
	files->n++;
	*ret = bigger;
	return 0;
}

static int collect_maps(pid_t pid, struct open_files *files)
{
	snap_cleanup_procmaps struct procmaps maps = {.fd = -1};
	struct proc_map map;
	int r = procmaps_open(&maps, pid);

	if (r < 0)
		return r;
	while ((r = procmaps_next(&maps, &map)) > 0) {
		struct open_file *file;

		if (map.inode == 0 || map.deleted)
			continue;
		r = note(files, map.path, &file);
		if (r < 0)
			return r;
		if (!file)
			continue;
		file->mapped = true;
		file->append = false;
		file->written |= map.shared && (map.prot & PROT_WRITE);
	}
	return r;
}

/* open flags of a descriptor, -1 when it is gone */
static int fd_flags(pid_t pid, const char *fd)
{
	char path[64], text[512], *line;

	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, fd);
	if (io_read_line(AT_FDCWD, path, text, sizeof(text)) < 0)
		return -1;
	line = strstr(text, "flags:");
	return line ? (int)strtol(line + strlen("flags:"), NULL, 8) : -1;
}

static int note_fd(pid_t pid, int dir_fd, const char *name, struct open_files *files)
{
	char target[4096];
	struct open_file *file;
	struct stat st;
	ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);
	int flags = fd_flags(pid, name), r;

	if (n < 0 || flags < 0 || fstatat(dir_fd, name, &st, 0) < 0 || st.st_nlink == 0)
		return 0;
	target[n] = '\0';
	r = note(files, target, &file);
	if (r < 0 || !file || file->st.st_ino != st.st_ino || file->st.st_dev != st.st_dev ||
	    (flags & O_PATH))
		return r;
	file->written |= (flags & O_ACCMODE) != O_RDONLY;
	file->append &= (flags & O_APPEND) != 0;
	return 0;
}

static int collect_fds(pid_t pid, struct open_files *files)
{
	snap_cleanup_closedir DIR *dir = NULL;
	struct dirent *entry;
	char path[32];
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (r == 0 && (entry = readdir(dir))) {
		if (isdigit((unsigned char)entry->d_name[0]))
			r = note_fd(pid, dirfd(dir), entry->d_name, files);
	}
	return r;
}

int open_files_collect(const struct task_tree *tree, struct open_files *ret, struct snap_error *err)
{
	struct open_files files = {0};

	for (size_t i = 0; i < tree->n_processes; i++) {
		const struct tree_process *process = &tree->processes[i];
		int r;

		if (process->zombie)
			continue;
		r = collect_maps(process->pid, &files);
		if (r == 0)
			r = collect_fds(process->pid, &files);
		if (r < 0) {
			open_files_done(&files);
			return snap_fail(err, SNAP_E_DUMP, -r,
					 "cannot list the files of pid %d (%s)", (int)process->pid,
					 process->comm);
		}
	}
	*ret = files;
	return 0;
}
