/* SPDX-License-Identifier: Apache-2.0 */
#include "common/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct code_info {
	const char *name;
	int exit_status;
};

static const struct code_info code_infos[] = {
	[SNAP_OK] = {"ok", 0},
	[SNAP_E_INTERNAL] = {"internal", 1},
	[SNAP_E_USAGE] = {"usage", 2},
	[SNAP_E_PREFLIGHT] = {"preflight", 3},
	[SNAP_E_INCOMPATIBLE] = {"incompatible", 4},
	[SNAP_E_CORRUPT] = {"corrupt", 5},
	[SNAP_E_NOT_READY] = {"not-ready", 6},
	[SNAP_E_UNSNAPSHOTABLE] = {"unsnapshotable", 7},
	[SNAP_E_DUMP] = {"dump-failed", 8},
	[SNAP_E_GPU] = {"gpu-failed", 9},
	[SNAP_E_RESTORE] = {"restore-failed", 10},
	[SNAP_E_BUDGET] = {"over-budget", 11},
	[SNAP_E_HOOK] = {"hook-failed", 12},
	[SNAP_E_ORACLE] = {"oracle-mismatch", 13},
	[SNAP_E_NO_SNAPSHOT] = {"no-snapshot", 4},
	[SNAP_E_STOPPED] = {"stopped", 14},
};

_Static_assert(sizeof(code_infos) / sizeof(code_infos[0]) == SNAP_CODE_MAX_,
	       "every code has a name and an exit status");

__attribute__((format(printf, 6, 0))) static void fill(struct snap_error *err, const char *file,
						       int line, enum snap_code code, int errnum,
						       const char *fmt, va_list ap)
{
	err->code = code;
	err->errnum = errnum;
	err->file = file;
	err->line = line;
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
}

int snap_error_set(struct snap_error *err, const char *file, int line, enum snap_code code,
		   int errnum, const char *fmt, ...)
{
	int r = errnum > 0 ? -errnum : -EIO;
	size_t used;
	va_list ap;

	if (!err)
		return r;
	va_start(ap, fmt);
	fill(err, file, line, code, errnum, fmt, ap);
	va_end(ap);
	/* what is wrong with a command line is in the text */
	if (code == SNAP_E_USAGE && errnum == EINVAL)
		return r;
	used = strlen(err->msg);
	if (errnum > 0 && used + 3 < sizeof(err->msg))
		(void)snprintf(err->msg + used, sizeof(err->msg) - used, ": %s", strerror(errnum));
	return r;
}

int snap_error_set_plain(struct snap_error *err, const char *file, int line, enum snap_code code,
			 int errnum, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		va_start(ap, fmt);
		fill(err, file, line, code, errnum, fmt, ap);
		va_end(ap);
	}
	return errnum > 0 ? -errnum : -EIO;
}

void snap_error_prefix(struct snap_error *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	size_t used;
	va_list ap;

	if (!err || err->msg[0] == '\0')
		return;

	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	used = strlen(err->msg);
	if (used + 3 < sizeof(err->msg))
		(void)snprintf(err->msg + used, sizeof(err->msg) - used, ": %.*s",
			       (int)(sizeof(err->msg) - used - 3), old);
}

const char *snap_code_name(enum snap_code code)
{
	if (code < 0 || code >= SNAP_CODE_MAX_)
		return "unknown";
	return code_infos[code].name;
}

enum snap_code snap_code_of_place(int errnum)
{
	switch (errnum) {
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
	case ELOOP:
		return SNAP_E_USAGE;
	case EROFS:
	case EACCES:
	case EPERM:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return SNAP_E_PREFLIGHT;
	default:
		return SNAP_E_INTERNAL;
	}
}

int snap_code_exit_status(enum snap_code code)
{
	if (code < 0 || code >= SNAP_CODE_MAX_)
		return 1;
	return code_infos[code].exit_status;
}

enum snap_code snap_code_named(const char *name)
{
	for (int i = 0; i < SNAP_CODE_MAX_; i++) {
		if (strcmp(code_infos[i].name, name) == 0)
			return (enum snap_code)i;
	}
	return SNAP_E_INTERNAL; /* "worker": it died or broke the protocol */
}
