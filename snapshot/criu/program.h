/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_CRIU_PROGRAM_H
#define SNAP_SNAPSHOT_CRIU_PROGRAM_H

/*
 * Which CRIU to run and how: a bundle's CRIU is started by the bundle's own ld.so, so that it
 * works on any base image. Nothing is executed here.
 */

#include <stddef.h>

#include "common/error.h"
#include "common/process.h"

#define CRIU_ARGV_MAX 8

struct criu_program {
	char ldso[4096];    /* empty: the program is executed directly */
	char libpath[4096]; /* for --library-path */
	char path[4096];
	char build_id[41]; /* hex; empty where the file has none */
};

/*
 * chosen: what the user said, NULL for a search: beside this program in a bundle, in the build
 * folder's prefix, then criu in PATH. -ENOENT with SNAP_E_PREFLIGHT when there is none.
 */
int criu_program_find(const char *chosen, struct criu_program *ret, struct snap_error *err);

/*
 * Start "criu ARGS…", which looks for its kernel-feature cache in runtime_dir; program, arguments
 * and environment of spec are ours to set. As process_spawn(), but -ENOEXEC where it cannot be
 * executed.
 */
int criu_program_spawn(const struct criu_program *program, const char *const *args,
		       const char *runtime_dir, struct process_spec *spec, struct pidref *ret,
		       struct snap_error *err);

/* argv for "criu ARGS…" in ret_argv (pointers into program and args); NULL-terminated */
void criu_program_argv(const struct criu_program *program, const char *const *args,
		       const char *ret_argv[CRIU_ARGV_MAX]);

#endif
