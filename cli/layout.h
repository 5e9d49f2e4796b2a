/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_LAYOUT_H
#define SNAP_CLI_LAYOUT_H

/* Where our own programs are: in a bundle, in an installed tree, in a build folder. */

#include <limits.h>

#include "common/error.h"

/*
 * snapinit as the user said (chosen), else beside us: `dir` is the folder of the running program.
 * In a bundle that is TOP/lib, whose ld.so runs us. SNAP_E_PREFLIGHT when it is nowhere.
 */
int layout_find_snapinit(const char *dir, const char *chosen, char ret_path[PATH_MAX],
			 struct snap_error *err);

/* snapworker, found from snapinit's place as snapinit does */
int layout_find_snapworker(const char *snapinit, char ret_path[PATH_MAX], struct snap_error *err);

/* folder of /proc/self/exe */
int layout_self_dir(char ret_dir[PATH_MAX], struct snap_error *err);

/* what to execute to run this program once more */
int layout_find_self(const char *dir, char ret_path[PATH_MAX], struct snap_error *err);

#endif
