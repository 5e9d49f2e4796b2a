/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_COMMON_ERROR_H
#define SNAP_COMMON_ERROR_H

/*
 * A failure has three parts: the int a function returns (0 success, positive a documented
 * outcome, negative errno), a stable code for people and scripts, and a text. Code and text live
 * in a struct owned by the caller, of fixed size, so reporting a failure never allocates and
 * never fails. The struct pointer may be NULL everywhere.
 */

enum snap_code {
	SNAP_OK,
	SNAP_E_INTERNAL,
	SNAP_E_USAGE,
	SNAP_E_PREFLIGHT,      /* rights or programs missing on this host */
	SNAP_E_INCOMPATIBLE,   /* snapshot made for another host, command or environment */
	SNAP_E_CORRUPT,	       /* snapshot damaged or not ours */
	SNAP_E_NOT_READY,      /* engine not ready before its deadline */
	SNAP_E_UNSNAPSHOTABLE, /* the tree holds something CRIU refuses */
	SNAP_E_DUMP,
	SNAP_E_GPU,
	SNAP_E_RESTORE,
	SNAP_E_BUDGET,
	SNAP_E_HOOK,
	SNAP_E_ORACLE, /* the woken engine answers something else */
	SNAP_E_NO_SNAPSHOT,
	SNAP_E_STOPPED, /* somebody wanted the container to end first */
	SNAP_CODE_MAX_,
};

struct snap_error {
	enum snap_code code;
	int errnum; /* positive errno, 0 if none */
	int line;
	const char *file;
	char msg[1024];
};

/* fill err (may be NULL) and return the negative errno (-EIO where errnum is 0) */
int snap_error_set(struct snap_error *err, const char *file, int line, enum snap_code code,
		   int errnum, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

#define snap_fail(err, code, errnum, ...) \
	snap_error_set((err), __FILE__, __LINE__, (code), (errnum), __VA_ARGS__)

/* the same, but the text stays as it is: errnum is our verdict, not what a call answered */
#define snap_fail_plain(err, code, errnum, ...) \
	snap_error_set_plain((err), __FILE__, __LINE__, (code), (errnum), __VA_ARGS__)

int snap_error_set_plain(struct snap_error *err, const char *file, int line, enum snap_code code,
			 int errnum, const char *fmt, ...) __attribute__((format(printf, 6, 7)));

/* put "text: " in front of the message; no effect on an empty error */
void snap_error_prefix(struct snap_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* stable name of a code, for example "incompatible"; never NULL */
const char *snap_code_name(enum snap_code code);

/* the code of that name; SNAP_E_INTERNAL for another word */
enum snap_code snap_code_named(const char *name);

/*
 * The code when a file or folder that the user named cannot be made: a path that leads nowhere is a
 * slip of theirs, what the place refuses is its owner's to cure, anything else is ours.
 */
enum snap_code snap_code_of_place(int errnum);

/* exit status of snapctl for a code (shared/facts/platforms.md 5.2; docs/man/snapctl.1) */
int snap_code_exit_status(enum snap_code code);

#endif
