/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/task/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/io.h"
#include "common/procfs.h"
#include "common/text.h"
#include "snapshot/task/audit_internal.h"
#include "snapshot/task/shmem.h"

static void audit_done(struct audit *audit)
{
	free(audit->mounts);
	free(audit->sockets);
	free(audit->ttys);
	free(audit->memfds);
}

/* names and paths are the engine's: one line, and no half character at the end */
static void make_printable(char *text, bool cut)
{
	size_t len = strlen(text);

	while (cut && len > 0 && ((unsigned char)text[len - 1] & 0xc0) == 0x80)
		text[--len] = '\0';
	if (cut && len > 0 && (unsigned char)text[len - 1] >= 0xc0)
		text[--len] = '\0';
	text_make_printable(text);
}

/* the later ones weigh more */
enum lasts {
	PASSES,
	BLOCKS,
	LASTS
};

static enum lasts lasts_of(const struct audit_finding *finding)
{
	if (!finding->transient)
		return LASTS;
	return finding->blocking ? BLOCKS : PASSES;
}

/* a full report gives up one that weighs less, so that none is hidden */
static struct audit_finding *find_room(struct audit_report *report, enum lasts lasts)
{
	report->total++;
	if (report->n < AUDIT_FINDINGS_MAX)
		return &report->items[report->n++];
	for (size_t i = report->n; i > 0; i--) {
		if (lasts_of(&report->items[i - 1]) < lasts)
			return &report->items[i - 1];
	}
	return NULL;
}

static void find(struct audit *audit, const struct tree_process *process, enum lasts lasts,
		 const char *fmt, va_list args) __attribute__((format(printf, 4, 0)));

static void find(struct audit *audit, const struct tree_process *process, enum lasts lasts,
		 const char *fmt, va_list args)
{
	struct audit_finding *finding = find_room(audit->report, lasts);
	int start, rest = 0;

	if (!finding)
		return;
	finding->transient = lasts != LASTS;
	finding->blocking = lasts == BLOCKS;
	start = snprintf(finding->text, sizeof(finding->text), "pid %d (%s) ", (int)process->pid,
			 process->comm);
	if (start > 0 && (size_t)start < sizeof(finding->text))
		rest = vsnprintf(finding->text + start, sizeof(finding->text) - (size_t)start, fmt,
				 args);
	make_printable(finding->text, (size_t)(start + rest) >= sizeof(finding->text));
}

void audit_find(struct audit *audit, const struct tree_process *process, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	find(audit, process, LASTS, fmt, args);
	va_end(args);
}

void audit_find_transient(struct audit *audit, const struct tree_process *process, const char *fmt,
			  ...)
{
	va_list args;

	va_start(args, fmt);
	find(audit, process, PASSES, fmt, args);
	va_end(args);
}

void audit_find_blocking(struct audit *audit, const struct tree_process *process, const char *fmt,
			 ...)
{
	va_list args;

	va_start(args, fmt);
	find(audit, process, BLOCKS, fmt, args);
	va_end(args);
}

void audit_find_inherited(struct audit *audit, const struct tree_process *process, const char *fmt,
			  ...)
{
	va_list args;

	va_start(args, fmt);
	find(audit, process, audit_device_is_inherited(audit, process) ? BLOCKS : LASTS, fmt, args);
	va_end(args);
}

int audit_cannot_read(struct audit *audit, const struct tree_process *process, int errnum,
		      const char *what)
{
	if (errnum == ENOENT || errnum == ESRCH)
		return 0;
	if (errnum == EACCES || errnum == EPERM) {
		if (audit->closed_pid != process->pid)
			audit_find(audit, process,
				   "does not let us see its %s, nor CRIU: it has other rights (a "
				   "set-uid program, file capabilities, PR_SET_DUMPABLE 0); run it "
				   "with those of the rest of the engine",
				   what);
		audit->closed_pid = process->pid;
		return 0;
	}
	return snap_fail(audit->err, SNAP_E_UNSNAPSHOTABLE, errnum,
			 "cannot read the %s of pid %d (%s)", what, (int)process->pid,
			 process->comm);
}

bool audit_has_capability(int capability, bool initial)
{
	unsigned int inside, outside, length;
	char text[64];
	uint64_t caps;

	if (procfs_status_field(getpid(), "CapEff", text, sizeof(text)) < 0 ||
	    sscanf(text, "%" SCNx64, &caps) != 1 || !(caps >> capability & 1))
		return false;
	if (!initial)
		return true;
	return io_read_line(AT_FDCWD, "/proc/self/uid_map", text, sizeof(text)) > 0 &&
	       sscanf(text, "%u %u %u", &inside, &outside, &length) == 3 && inside == 0 &&
	       outside == 0 && length == UINT32_MAX;
}

static int look_at_process(struct audit *audit, const struct tree_process *process)
{
	int r;

	r = audit_tasks(audit, process);
	if (r == 0)
		r = audit_fds(audit, process);
	if (r == 0)
		r = audit_maps(audit, process);
	return r;
}

int audit_tree(const struct task_tree *tree, const struct audit_rights *rights,
	       struct audit_report *ret, struct snap_error *err)
{
	snap_cleanup(audit_done) struct audit audit = {
		.tree = tree,
		.rights = rights,
		.report = ret,
		.err = err,
		.shmem_dev = shmem_device(),
		.can_open_handles = audit_has_capability(CAP_DAC_READ_SEARCH, true),
		.can_cross_uids = audit_has_capability(CAP_SYS_RESOURCE, false),
		.can_read_map_files = audit_can_read_map_files(),
	};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = audit_mounts_load(&audit);
	if (r < 0)
		return r;
	for (size_t i = 0; i < tree->n_processes; i++) {
		if (tree->processes[i].zombie)
			continue;
		r = look_at_process(&audit, &tree->processes[i]);
		if (r < 0)
			return r;
	}
	audit_ttys(&audit);
	audit_memfds(&audit);
	r = audit_sockets(&audit);
	ret->n_sockets = audit.n_sockets;
	if (r < 0)
		return r;
	return audit_leftovers(&audit);
}

bool audit_only_transient(const struct audit_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		if (!report->items[i].transient)
			return false;
	}
	return report->n > 0;
}

bool audit_only_connections(const struct audit_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		if (report->items[i].blocking)
			return false;
	}
	return audit_only_transient(report);
}

void audit_format(const struct audit_report *report, char *buf, size_t size)
{
	size_t used = 0, i;

	if (size == 0)
		return;
	buf[0] = '\0';
	for (i = 0; i < report->n; i++) {
		const char *text = report->items[i].text;
		/* keep room to say how many are left out */
		size_t more = i + 1 < report->total ? sizeof("; and 4294967295 more") : 1;

		if (used + (i > 0 ? 2 : 0) + strlen(text) + more > size)
			break;
		used += (size_t)snprintf(buf + used, size - used, "%s%s", i > 0 ? "; " : "", text);
	}
	if (i < report->total)
		(void)snprintf(buf + used, size - used, "%sand %zu more", i > 0 ? "; " : "",
			       report->total - i);
}
