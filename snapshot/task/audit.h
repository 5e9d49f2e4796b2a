/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_AUDIT_H
#define SNAP_SNAPSHOT_TASK_AUDIT_H

/*
 * The audit names what CRIU would refuse, with its owner and the cure, before CRIU is asked and
 * while the engine still runs (shared/facts/criu.md 7). It reads /proc and sock_diag, and asks a
 * TCP socket that neither knows by a copy of its descriptor.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "snapshot/task/tree.h"

#define AUDIT_FINDINGS_MAX 32

struct audit_rights {
	bool admin;	/* setting A: SYS_ADMIN and NET_ADMIN, no filter on us */
	uid_t uid;	/* CRIU's */
	pid_t init_pid; /* our PID 1: its other children are outside the tree */
	pid_t self_pid; /* the worker, no leftover */
	/* ascending: a checkpoint by the GPU's driver, still to come, will close their devices */
	const int32_t *device_pids;
	size_t n_device_pids;
};

struct audit_finding {
	bool transient; /* may go away by itself: an open connection, unread data */
	bool blocking;	/* … and until then no rights help: a child that has not executed yet */
	char text[320]; /* "pid 57 (python3) fd 12: io_uring ring; set UV_USE_IO_URING=0 …" */
};

struct audit_report {
	struct audit_finding items[AUDIT_FINDINGS_MAX];
	size_t n;     /* kept */
	size_t total; /* found */
	size_t n_sockets;
};

/* 0 even when something was found; negative errno when it could not look */
int audit_tree(const struct task_tree *tree, const struct audit_rights *rights,
	       struct audit_report *ret, struct snap_error *err);

/* are all findings transient? false for an empty report */
bool audit_only_transient(const struct audit_report *report);

/* … and such as CRIU dumps where it has NET_ADMIN */
bool audit_only_connections(const struct audit_report *report);

/* all findings in one line, "; " between, "and N more" at the end */
void audit_format(const struct audit_report *report, char *buf, size_t size);

#endif
