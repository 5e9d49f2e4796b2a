/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "snapshot/task/audit_internal.h"

#ifndef SECRETMEM_MAGIC
#	define SECRETMEM_MAGIC 0x5345434dL
#endif
#ifndef DMA_BUF_MAGIC
#	define DMA_BUF_MAGIC 0x444d4142L
#endif
#define MQUEUE_MAGIC 0x19800202L /* the kernel's ipc/mqueue.c; no header has it */

#ifndef PIDFD_THREAD
#	define PIDFD_THREAD O_EXCL
#endif

struct open_fd {
	const struct tree_process *process;
	int fd;
	char proc_path[48];
	char link[AUDIT_LINK_MAX];
	struct stat st;
};

struct anon_kind {
	const char *name; /* after "anon_inode:" */
	const char *what; /* NULL: CRIU dumps it */
	const char *cure;
};

static const struct anon_kind anon_kinds[] = {
	{"[eventfd]", NULL, NULL},
	{"[eventpoll]", NULL, NULL},
	{"[signalfd]", NULL, NULL},
	{"[timerfd]", NULL, NULL},
	{"[io_uring]", "an io_uring ring", "set UV_USE_IO_URING=0, or turn it off in the engine"},
	{"[userfaultfd]", "a userfaultfd", "switch off what handles page faults in user space"},
	{"[perf_event]", "a perf event", "stop profilers before the capture"},
	{"bpf-map", "a BPF map", "stop BPF tools before the capture"},
	{"bpf-prog", "a BPF program", "stop BPF tools before the capture"},
	{"bpf_link", "a BPF link", "stop BPF tools before the capture"},
	{"seccomp notify", "a seccomp listener", "run supervisors outside the engine's tree"},
	{"[landlock-ruleset]", "a Landlock ruleset", "close it once it is in force"},
	{"[fscontext]", "a mount context", "close it after the mount"},
	{"kvm-vm", "a KVM machine", "run virtual machines outside the engine's tree"},
};

int audit_fdinfo(pid_t pid, int fd, const char *key, int base, long *ret)
{
	char path[48], text[1024];
	size_t key_len = strlen(key);
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)pid, fd);
	n = io_read_line(AT_FDCWD, path, text, sizeof(text));
	if (n < 0)
		return (int)n;
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, key_len) == 0 && line[key_len] == ':') {
			*ret = strtol(line + key_len + 1, NULL, base);
			return 0;
		}
	}
	return -ENOENT;
}

static void check_pidfd(struct audit *audit, const struct open_fd *fd)
{
	long flags = 0, pid;

	if (audit_fdinfo(fd->process->pid, fd->fd, "flags", 8, &flags) < 0 ||
	    audit_fdinfo(fd->process->pid, fd->fd, "Pid", 10, &pid) < 0)
		return;
	if (flags & PIDFD_THREAD)
		audit_find(audit, fd->process,
			   "fd %d is a pidfd of a thread, which CRIU cannot dump; close it before "
			   "the capture",
			   fd->fd);
	else if (pid != -1 && !task_tree_has(audit->tree, (pid_t)pid)) /* -1: has ended */
		audit_find(audit, fd->process,
			   "fd %d is a pidfd of process %ld outside the engine's tree, which will "
			   "not exist after a wake; close it before the capture",
			   fd->fd, pid);
}

/* marks and watches hold file handles; an empty one needs nothing */
static void check_watches(struct audit *audit, const struct open_fd *fd, const char *word)
{
	char path[48], text[1024], line[16];

	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)fd->process->pid, fd->fd);
	(void)snprintf(line, sizeof(line), "\n%s ", word);
	if (audit->can_open_handles || io_read_line(AT_FDCWD, path, text, sizeof(text)) < 0 ||
	    !strstr(text, line))
		return;
	audit_find(audit, fd->process,
		   "fd %d has %s watches, which CRIU can only dump with DAC_READ_SEARCH; switch "
		   "off file watching (reload on change) or add the capability",
		   fd->fd, word);
}

static void check_anon_inode(struct audit *audit, const struct open_fd *fd)
{
	const char *name = fd->link + strlen("anon_inode:");
	bool will_close;

	if (strcmp(name, "[pidfd]") == 0) {
		check_pidfd(audit, fd);
		return;
	}
	if (strcmp(name, "inotify") == 0 || strcmp(name, "[fanotify]") == 0) {
		check_watches(audit, fd, name[0] == '[' ? "fanotify" : "inotify");
		return;
	}
	will_close = audit_device_will_close(audit, fd->process);
	for (size_t i = 0; i < ARRAY_LEN(anon_kinds); i++) {
		const struct anon_kind *kind = &anon_kinds[i];

		if (strcmp(name, kind->name) != 0)
			continue;
		if (kind->what && !will_close)
			audit_find_inherited(audit, fd->process,
					     "fd %d is %s, which CRIU cannot dump; %s", fd->fd,
					     kind->what, kind->cure);
		return;
	}
	if (will_close)
		return;
	audit_find_inherited(
		audit, fd->process,
		"fd %d is a kernel object '%.60s', which CRIU cannot dump; close it before the "
		"capture",
		fd->fd, name);
}

static void check_path(struct audit *audit, const struct open_fd *fd, long fs_type)
{
	char what[24];
	long mount_id;

	if (audit_fdinfo(fd->process->pid, fd->fd, "mnt_id", 10, &mount_id) < 0)
		return;
	(void)snprintf(what, sizeof(what), "fd %d is", fd->fd);
	audit_path(audit, fd->process, what, fd->link, &fd->st, fs_type, (int)mount_id);
}

static int check_file(struct audit *audit, const struct open_fd *fd)
{
	const char *refused = NULL;
	struct statfs fs = {0};

	if (statfs(fd->proc_path, &fs) < 0)
		return 0;
	if (fs.f_type == NSFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC || fs.f_type == PIPEFS_MAGIC)
		return 0;
	if (fs.f_type == SECRETMEM_MAGIC)
		refused = "secret memory (memfd_secret), which CRIU cannot read; switch off what "
			  "uses it";
	else if (fs.f_type == MQUEUE_MAGIC)
		refused =
			"a POSIX message queue, which CRIU cannot dump; use a socket pair instead";
	else if (fs.f_type == DMA_BUF_MAGIC)
		refused = "a DMA buffer, which CRIU cannot dump; close it before the capture";
	else if (fd->link[0] != '/')
		refused = "of a kind CRIU does not know; close it before the capture";
	else if (fd->st.st_dev == audit->shmem_dev)
		/* a memfd: dumped with its content, whatever its size */
		return audit_memfd_held(audit, fd->process, fd->fd, fd->st.st_ino);

	if (refused)
		audit_find(audit, fd->process, "fd %d ('%.60s') is %s", fd->fd, fd->link, refused);
	else
		check_path(audit, fd, fs.f_type);
	return 0;
}

static int check_device(struct audit *audit, const struct open_fd *fd)
{
	bool block = S_ISBLK(fd->st.st_mode);
	struct statfs fs = {0};

	if (!audit_device_is_dumped(fd->st.st_rdev, block)) {
		if (!block && audit_device_will_close(audit, fd->process))
			return 0;
		audit_find_inherited(audit, fd->process,
				     "fd %d is the %s device '%.120s', which CRIU cannot dump; %s",
				     fd->fd, block ? "block" : "character", fd->link,
				     audit_device_cure(fd->link));
		return 0;
	}
	if (statfs(fd->proc_path, &fs) == 0)
		check_path(audit, fd, fs.f_type);
	return audit_tty_add(audit, fd->process, fd->fd, fd->st.st_rdev, fd->link);
}

static int check_socket(struct audit *audit, const struct open_fd *fd)
{
	if (fd->link[0] != '/')
		return audit_socket_add(audit, fd->process, fd->fd, fd->st.st_ino);
	audit_find(audit, fd->process,
		   "fd %d is an O_PATH descriptor of the socket '%.100s', which CRIU cannot dump; "
		   "close it before the capture",
		   fd->fd, fd->link);
	return 0;
}

static int check_fd(struct audit *audit, const struct tree_process *process, int number)
{
	struct open_fd fd = {.process = process, .fd = number};
	ssize_t n;

	(void)snprintf(fd.proc_path, sizeof(fd.proc_path), "/proc/%d/fd/%d", (int)process->pid,
		       number);
	n = readlink(fd.proc_path, fd.link, sizeof(fd.link) - 1);
	if (n < 0 || stat(fd.proc_path, &fd.st) < 0)
		return audit_cannot_read(audit, process, errno, "descriptors");
	fd.link[n] = '\0';

	if (S_ISSOCK(fd.st.st_mode))
		return check_socket(audit, &fd);
	if (S_ISCHR(fd.st.st_mode) || S_ISBLK(fd.st.st_mode))
		return check_device(audit, &fd);
	if (strncmp(fd.link, "anon_inode:", 11) == 0)
		check_anon_inode(audit, &fd);
	else if (strncmp(fd.link, "pidfd:", 6) == 0)
		check_pidfd(audit, &fd);
	else
		return check_file(audit, &fd);
	return 0;
}

int audit_fds(struct audit *audit, const struct tree_process *process)
{
	snap_cleanup_closedir DIR *dir = NULL;
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)process->pid);
	dir = opendir(path);
	if (!dir)
		return audit_cannot_read(audit, process, errno, "descriptors");
	for (;;) {
		struct dirent *entry;
		int r;

		errno = 0;
		entry = readdir(dir);
		if (!entry)
			return errno ? audit_cannot_read(audit, process, errno, "descriptors") : 0;
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		r = check_fd(audit, process, (int)strtol(entry->d_name, NULL, 10));
		if (r < 0)
			return r;
	}
}
