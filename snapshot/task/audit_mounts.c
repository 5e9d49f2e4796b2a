/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "snapshot/task/audit_internal.h"

#define MOUNTINFO_MAX (32U << 20) /* the kernel's limit of 100,000 mounts, 300 bytes each */

static int compare_ids(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int audit_mounts_load(struct audit *audit)
{
	snap_cleanup_free char *text = NULL;
	size_t size, lines = 0;
	int r;

	r = io_read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, &size, audit->err);
	if (r < 0)
		return r;
	for (const char *at = text; *at != '\0'; at++)
		lines += *at == '\n';
	audit->mounts = calloc(lines + 1, sizeof(*audit->mounts));
	if (!audit->mounts)
		return snap_fail(audit->err, SNAP_E_INTERNAL, ENOMEM, "cannot read the mounts");
	for (const char *at = text; at && *at != '\0' && audit->n_mounts < lines;) {
		audit->mounts[audit->n_mounts++] = (int)strtol(at, NULL, 10);
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	qsort(audit->mounts, audit->n_mounts, sizeof(*audit->mounts), compare_ids);
	return 0;
}

bool audit_mount_is_ours(const struct audit *audit, int mount_id)
{
	return bsearch(&mount_id, audit->mounts, audit->n_mounts, sizeof(*audit->mounts),
		       compare_ids) != NULL;
}
