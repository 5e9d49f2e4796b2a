/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/parse.h"
#include "common/procfs.h"
#include "snapshot/task/audit_internal.h"

/* findings a process makes once, however many of its threads show it */
struct once {
	bool traced;
	bool filtered;
	bool files;
	unsigned int namespaces; /* a bit each */
};

struct namespace_kind {
	const char *link;
	const char *word; /* NULL: same as link */
	/*
	 * CRIU takes it along if the whole tree lives in it, given SYS_ADMIN. It makes one itself
	 * at every such restore, so that the clocks go on from where they were.
	 */
	bool taken_along;
};

static const struct namespace_kind namespace_kinds[] = {
	{.link = "user"},
	{.link = "pid"},
	{.link = "pid_for_children", .word = "pid"},
	{.link = "mnt"},
	{.link = "net"},
	{.link = "ipc"},
	{.link = "uts"},
	{.link = "cgroup"},
	{.link = "time", .taken_along = true},
	{.link = "time_for_children", .word = "time", .taken_along = true},
};

static bool differ(pid_t pid, pid_t other, int what)
{
	/* an error (a filter, Yama) says nothing: CRIU will tell */
	return syscall(SYS_kcmp, pid, other, what, 0UL, 0UL) > 0;
}

static bool same(pid_t pid, pid_t other, int what)
{
	return syscall(SYS_kcmp, pid, other, what, 0UL, 0UL) == 0;
}

/* the whole range of real, effective, saved and file system id is `id` */
static bool ids_are(const char *text, unsigned int id)
{
	unsigned int a, b, c, d;

	return sscanf(text, "%u %u %u %u", &a, &b, &c, &d) == 4 && a == id && b == id && c == id &&
	       d == id;
}

/*
 * CRIU reads a task's limits with prlimit(), which wants either every uid and gid of the task to
 * be its own or CAP_SYS_RESOURCE. Its gid is the one of the engine's root.
 */
static void check_identity(struct audit *audit, const struct tree_process *process)
{
	const struct audit_rights *rights = audit->rights;
	char uids[64], gids[64], root_gids[64];
	unsigned int gid;
	bool uid_same, gid_same = true;

	if (procfs_status_field(process->pid, "Uid", uids, sizeof(uids)) < 0 ||
	    procfs_status_field(process->pid, "Gid", gids, sizeof(gids)) < 0)
		return;
	if (procfs_status_field(audit->tree->processes[0].pid, "Gid", root_gids,
				sizeof(root_gids)) == 0 &&
	    sscanf(root_gids, "%u", &gid) == 1)
		gid_same = ids_are(gids, gid);
	uid_same = ids_are(uids, (unsigned int)rights->uid);
	if ((uid_same && gid_same) || (rights->admin && audit->can_cross_uids))
		return;
	audit_find(audit, process,
		   "runs as uid %u gid %u while CRIU runs as uid %u, which then may not dump it; "
		   "let the whole engine run under one uid and gid%s",
		   (unsigned int)strtoul(uids, NULL, 10), (unsigned int)strtoul(gids, NULL, 10),
		   (unsigned int)rights->uid, rights->admin ? " or add SYS_RESOURCE" : "");
}

static void check_tracer(struct audit *audit, const struct tree_process *process, pid_t tid,
			 struct once *once)
{
	struct proc_stat tracer;
	char text[16];
	pid_t pid;

	if (once->traced || procfs_status_field(tid, "TracerPid", text, sizeof(text)) < 0)
		return;
	pid = (pid_t)strtol(text, NULL, 10);
	if (pid <= 0)
		return;
	once->traced = true;
	if (procfs_stat(pid, &tracer) < 0)
		(void)snprintf(tracer.comm, sizeof(tracer.comm), "?");
	audit_find(audit, process,
		   "is traced by pid %d (%s), and CRIU must trace it itself; detach the debugger",
		   (int)pid, tracer.comm);
}

static void check_filter(struct audit *audit, const struct tree_process *process, pid_t tid,
			 struct once *once)
{
	char text[16];

	if (audit->rights->admin || once->filtered ||
	    procfs_status_field(tid, "Seccomp", text, sizeof(text)) < 0 || strcmp(text, "0") == 0)
		return;
	once->filtered = true;
	audit_find(audit, process,
		   "runs under a seccomp filter, which CRIU can only dump with SYS_ADMIN; capture "
		   "without a filter (--security-opt seccomp=unconfined), wake with one");
}

static ssize_t read_namespace(const char *process, const char *kind, char *buf, size_t size)
{
	char path[64];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%s/ns/%s", process, kind);
	n = readlink(path, buf, size - 1);
	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return n;
}

static bool is_ending(pid_t tid)
{
	struct proc_stat stat;

	return procfs_stat(tid, &stat) < 0 || stat.exiting || stat.state == 'Z' ||
	       stat.state == 'X';
}

/* the namespace that a task has to be in */
static ssize_t read_wanted(const struct audit *audit, const struct namespace_kind *kind, char *buf,
			   size_t size)
{
	char root[16];

	if (!kind->taken_along || !audit->rights->admin)
		return read_namespace("self", kind->link, buf, size);
	(void)snprintf(root, sizeof(root), "%d", (int)audit->tree->processes[0].pid);
	return read_namespace(root, kind->word ? kind->word : kind->link, buf, size);
}

static void find_namespace(struct audit *audit, const struct tree_process *process,
			   const struct namespace_kind *kind)
{
	const char *does = kind->word ? "makes its children in" : "lives in";
	const char *word = kind->word ? kind->word : kind->link;

	if (kind->taken_along && audit->rights->admin)
		audit_find(audit, process,
			   "%s another %s namespace than the engine's root, and CRIU can only take "
			   "one along; let the engine start no sandboxes (unshare, bubblewrap)",
			   does, word);
	else
		audit_find(audit, process,
			   "%s another %s namespace than snapinit, which CRIU cannot restore%s; "
			   "let the engine start no sandboxes (unshare, bubblewrap)",
			   does, word, kind->taken_along ? " without SYS_ADMIN" : "");
}

static void check_namespaces(struct audit *audit, const struct tree_process *process, pid_t tid,
			     struct once *once)
{
	char task[16], wanted[64], theirs[64];

	(void)snprintf(task, sizeof(task), "%d", (int)tid);
	for (unsigned int i = 0; i < ARRAY_LEN(namespace_kinds); i++) {
		const struct namespace_kind *kind = &namespace_kinds[i];
		const char *word = kind->word ? kind->word : kind->link;
		unsigned int bits = 1U << i | (kind->word ? 1U << (i - 1) : 0);
		ssize_t n;

		if (once->namespaces & bits || read_wanted(audit, kind, wanted, 64) < 0)
			continue;
		n = read_namespace(task, kind->link, theirs, sizeof(theirs));
		/* a pid namespace without a first process has no link yet */
		if (n < 0 && (!kind->word || read_namespace(task, word, theirs, 64) < 0))
			continue;
		if (n >= 0 && strcmp(wanted, theirs) == 0)
			continue;
		/* nor has a task that is ending */
		if (n < 0 && is_ending(tid))
			return;
		once->namespaces |= bits;
		find_namespace(audit, process, kind);
	}
}

static void check_thread(struct audit *audit, const struct tree_process *process, pid_t tid,
			 struct once *once)
{
	check_tracer(audit, process, tid, once);
	check_filter(audit, process, tid, once);
	check_namespaces(audit, process, tid, once);
	if (tid != process->pid && !once->files && differ(process->pid, tid, KCMP_FILES)) {
		once->files = true;
		audit_find(audit, process,
			   "has a thread %d with a descriptor table of its own, whose descriptors "
			   "would be lost; let its threads share one (no unshare(CLONE_FILES))",
			   (int)tid);
	}
}

static void check_place(struct audit *audit, const struct tree_process *process)
{
	if (process == audit->tree->processes && process->session != process->pid)
		audit_find(audit, process,
			   "is the root but leads no session, and CRIU wants one; start it with "
			   "setsid");
	else if (process->session == 0)
		audit_find(audit, process,
			   "belongs to a session from outside the container; start the engine "
			   "with setsid");
	if (task_tree_has(audit->tree, process->ppid) && same(process->pid, process->ppid, KCMP_VM))
		audit_find_blocking(audit, process,
				    "shares its memory with its parent %d (vfork before exec), "
				    "which CRIU cannot dump; wait until it has executed",
				    (int)process->ppid);
}

static int count_threads(pid_t pid)
{
	char text[32];
	int n = 0;

	if (procfs_status_field(pid, "Threads", text, sizeof(text)) < 0 ||
	    parse_int(text, 0, INT_MAX, &n) < 0)
		return 0;
	return n;
}

int audit_tasks(struct audit *audit, const struct tree_process *process)
{
	snap_cleanup_closedir DIR *dir = NULL;
	struct once once = {0};
	struct proc_stat stat;
	char path[32];

	if (procfs_stat(process->pid, &stat) < 0)
		return 0;
	if (stat.exiting && stat.state != 'Z')
		return 0;
	/* the tree has zombies marked: this one became one since, or has other threads left */
	if (stat.state == 'Z' && count_threads(process->pid) < 2)
		return 0;
	if (stat.state == 'Z') {
		audit_find(audit, process,
			   "has ended its main thread and runs on in others, which CRIU cannot "
			   "dump; let the main thread wait for them (pthread_join)");
		return 0;
	}
	check_identity(audit, process);
	check_place(audit, process);
	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)process->pid);
	dir = opendir(path);
	if (!dir)
		return audit_cannot_read(audit, process, errno, "threads");
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		check_thread(audit, process, (pid_t)strtol(entry->d_name, NULL, 10), &once);
	}
	return 0;
}

static int check_leftover(pid_t pid, void *arg)
{
	struct audit *audit = arg;
	const struct audit_rights *rights = audit->rights;
	struct tree_process process = {.pid = pid};
	struct proc_stat stat;

	if (procfs_stat(pid, &stat) < 0 || stat.ppid != rights->init_pid || stat.state == 'Z' ||
	    pid == audit->tree->processes[0].pid || pid == rights->self_pid)
		return 0;
	if (procfs_is_descendant(pid, rights->self_pid) ||
	    procfs_is_descendant(rights->self_pid, pid))
		return 0;
	memcpy(process.comm, stat.comm, sizeof(process.comm));
	audit_find(audit, &process,
		   "has left the engine's tree (its parent ended) and would be missing after a "
		   "wake; let its parent wait for it, or end it before the capture");
	return 0;
}

int audit_leftovers(struct audit *audit)
{
	int r;

	if (audit->rights->init_pid <= 0)
		return 0;
	r = procfs_each_pid(check_leftover, audit);
	if (r < 0)
		return snap_fail(audit->err, SNAP_E_INTERNAL, -r, "cannot read /proc");
	return 0;
}
