/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_AUDIT_INTERNAL_H
#define SNAP_SNAPSHOT_TASK_AUDIT_INTERNAL_H

/*
 * What the parts of the audit share. Each part looks at one noun (tasks, descriptors, mappings,
 * sockets, terminals) of every process and reports with audit_find(). A process that ends while
 * it is looked at is no failure: the parts skip it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "common/error.h"
#include "snapshot/task/audit.h"
#include "snapshot/task/procmaps.h"

#define AUDIT_LINK_MAX	  4352		/* PATH_MAX and " (deleted)" */
#define AUDIT_GHOST_MAX	  (64ULL << 20) /* CRIU's --ghost-limit as we give it */
#define AUDIT_SOCKETS_MAX (1U << 20)

struct audit_socket {
	uint64_t inode;
	const struct tree_process *owner; /* the first one found */
	int fd;
	char protocol[16]; /* as the kernel names it; "" when it does not */
	bool told;
	bool listed; /* of TCP: the kernel's tables have it */
};

struct audit {
	const struct task_tree *tree;
	const struct audit_rights *rights;
	struct audit_report *report;
	struct snap_error *err;

	int *mounts; /* ids of our mount namespace, sorted */
	size_t n_mounts;
	dev_t shmem_dev; /* of memfds, SysV segments and shared anonymous memory */

	struct audit_socket *sockets; /* sorted by inode once the descriptors are read */
	size_t n_sockets;
	size_t room_sockets;

	struct audit_tty *ttys;
	size_t n_ttys;
	size_t room_ttys;

	pid_t closed_pid;      /* told to be closed to us */
	bool can_open_handles; /* CRIU finds the file of an inotify watch by open_by_handle_at() */
	bool can_cross_uids;   /* CRIU may read the limits of another uid's task */
	bool can_read_map_files;

	struct audit_memfd *memfds; /* none are noted where map_files can be read */
	size_t n_memfds;
	size_t room_memfds;
};

/* one finding; the text after "pid 57 (python3) " */
void audit_find(struct audit *audit, const struct tree_process *process, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void audit_find_transient(struct audit *audit, const struct tree_process *process, const char *fmt,
			  ...) __attribute__((format(printf, 3, 4)));
void audit_find_blocking(struct audit *audit, const struct tree_process *process, const char *fmt,
			 ...) __attribute__((format(printf, 3, 4)));
/* a device, or a kernel object of a driver: blocking if audit_device_is_inherited() */
void audit_find_inherited(struct audit *audit, const struct tree_process *process, const char *fmt,
			  ...) __attribute__((format(printf, 3, 4)));

/*
 * 0 where the process has ended meanwhile, or is closed to us and therefore to CRIU, which makes
 * a finding; else snap_fail() with what could not be read
 */
int audit_cannot_read(struct audit *audit, const struct tree_process *process, int errnum,
		      const char *what);

/* effective here; of the first user namespace if initial */
bool audit_has_capability(int capability, bool initial);

/* the parts, for one process or for all; 0 or negative errno with err filled */
int audit_tasks(struct audit *audit, const struct tree_process *process);
int audit_leftovers(struct audit *audit);
int audit_fds(struct audit *audit, const struct tree_process *process);
int audit_maps(struct audit *audit, const struct tree_process *process);
int audit_sockets(struct audit *audit);
int audit_tcp_sockets(struct audit *audit);
int audit_unix_sockets(struct audit *audit);

/* descriptors the others need to see together */
int audit_socket_add(struct audit *audit, const struct tree_process *process, int fd,
		     uint64_t inode);
/* the tree's holder of this socket; NULL: none */
struct audit_socket *audit_socket_owned(const struct audit *audit, uint64_t inode);
/* each line of a table in /proc/net; a table that this kernel lacks is empty */
int audit_each_line(struct audit *audit, const char *path,
		    void (*fn)(struct audit *audit, const char *line));
/* one more place in an array of *room items, n of them used; 0, -E2BIG above max, -ENOMEM */
int audit_make_room(void **items, size_t n, size_t *room, size_t size, size_t max);
int audit_tty_add(struct audit *audit, const struct tree_process *process, int fd, dev_t device,
		  const char *link);
void audit_ttys(struct audit *audit);

/* /proc/PID/map_files wants a capability in the first user namespace */
bool audit_can_read_map_files(void);
int audit_memfd_held(struct audit *audit, const struct tree_process *process, int fd,
		     uint64_t inode);
int audit_memfd_mapped(struct audit *audit, const struct tree_process *process,
		       const struct proc_map *map);
void audit_memfds(struct audit *audit);

/* /proc/self/mountinfo */
int audit_mounts_load(struct audit *audit);
bool audit_mount_is_ours(const struct audit *audit, int mount_id);

/* "flags", "mnt_id", "Pid" … of /proc/PID/fdinfo/FD; 0 or -errno (-ENOENT: no such line) */
int audit_fdinfo(pid_t pid, int fd, const char *key, int base, long *ret);

/*
 * What a file must be to be dumped by its path: in a mount of ours, under the size limit when
 * deleted, still at its place. The findings begin with `what`: "fd 3 is" or "maps".
 */
void audit_path(struct audit *audit, const struct tree_process *process, const char *what,
		const char *link, const struct stat *st, long fs_type, int mount_id);

/* is what it holds of a GPU for the driver's checkpoint to close? */
bool audit_device_will_close(const struct audit *audit, const struct tree_process *process);
/*
 * Its parent's will be closed, and it may be between fork and exec: what a driver opens is closed
 * there. One that stays like that is told from it by patience only.
 */
bool audit_device_is_inherited(const struct audit *audit, const struct tree_process *process);

/* a character or block device: true when CRIU dumps it as an open file */
bool audit_device_is_dumped(dev_t device, bool block);
const char *audit_device_cure(const char *link);

#endif
