/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>

#include "snapshot/task/audit_internal.h"

#define PATH_SHOWN 120 /* of a path in a finding */

static const char deleted_mark[] = " (deleted)";

/* length of the path without the mark; *ret_deleted whether it has one */
static int path_len(const char *link, bool *ret_deleted)
{
	size_t len = strlen(link), mark = strlen(deleted_mark);

	*ret_deleted = len > mark && strcmp(link + len - mark, deleted_mark) == 0;
	len -= *ret_deleted ? mark : 0;
	return len > PATH_SHOWN ? PATH_SHOWN : (int)len;
}

void audit_path(struct audit *audit, const struct tree_process *process, const char *what,
		const char *link, const struct stat *st, long fs_type, int mount_id)
{
	uint64_t bytes = (uint64_t)st->st_blocks * 512;
	bool deleted;
	int shown = path_len(link, &deleted);
	struct stat there;

	if (!audit_mount_is_ours(audit, mount_id)) {
		audit_find(audit, process,
			   "%s '%.*s' of another mount namespace, which CRIU cannot find; let the "
			   "engine open it itself, inside its container",
			   what, shown, link);
		return;
	}
	/* CRIU re-opens these by name, deleted or not */
	if (fs_type == PROC_SUPER_MAGIC || fs_type == DEVPTS_SUPER_MAGIC)
		return;
	if (st->st_nlink == 0) {
		if (S_ISREG(st->st_mode) && bytes > AUDIT_GHOST_MAX)
			audit_find(audit, process,
				   "%s the deleted file '%.*s' of %" PRIu64 " MiB, more than the "
				   "%llu CRIU keeps; do not delete it or use a memfd",
				   what, shown, link, bytes >> 20, AUDIT_GHOST_MAX >> 20);
		return;
	}
	if (deleted || stat(link, &there) < 0)
		return; /* another name is left: CRIU links it again */
	if (there.st_dev != st->st_dev || there.st_ino != st->st_ino)
		audit_find(audit, process,
			   "%s '%.*s', a path that leads to another file now; mount nothing over "
			   "open files, or close it before the capture",
			   what, shown, link);
}
