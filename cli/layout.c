/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/layout.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

/* "DIR/TAIL" as a real path, if it is an executable file */
static int try_place(const char *dir, const char *tail, char ret_path[PATH_MAX])
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", dir, tail);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	if (!realpath(path, ret_path) || access(ret_path, X_OK) < 0)
		return -errno;
	return 0;
}

int layout_self_dir(char ret_dir[PATH_MAX], struct snap_error *err)
{
	ssize_t n = readlink("/proc/self/exe", ret_dir, PATH_MAX - 1);
	char *slash;

	if (n < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot read /proc/self/exe");
	ret_dir[n] = '\0';
	slash = strrchr(ret_dir, '/');
	if (slash)
		*slash = '\0';
	return 0;
}

int layout_find_snapinit(const char *dir, const char *chosen, char ret_path[PATH_MAX],
			 struct snap_error *err)
{
	static const char *const places[] = {
		"../bin/snapinit",  /* a bundle: we are TOP/lib/ld.so */
		"snapinit",	    /* installed: same folder */
		"../init/snapinit", /* a build folder */
	};
	int r;

	if (chosen) {
		r = realpath(chosen, ret_path) ? 0 : -errno;
		return r < 0 ? snap_fail(err, SNAP_E_PREFLIGHT, -r, "--snapinit '%s'", chosen) : 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (try_place(dir, places[i], ret_path) == 0)
			return 0;
	}
	return snap_fail_plain(err, SNAP_E_PREFLIGHT, ENOENT,
			       "no snapinit beside '%s'; use --snapinit PATH", dir);
}

int layout_find_snapworker(const char *snapinit, char ret_path[PATH_MAX], struct snap_error *err)
{
	static const char *const places[] = {"../libexec/snapinit/snapworker",
					     "../worker/snapworker"};
	char dir[PATH_MAX], *slash;

	(void)snprintf(dir, sizeof(dir), "%s", snapinit);
	slash = strrchr(dir, '/');
	if (slash)
		*slash = '\0';
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (try_place(dir, places[i], ret_path) == 0)
			return 0;
	}
	return snap_fail_plain(err, SNAP_E_PREFLIGHT, ENOENT, "no snapworker beside '%s'",
			       snapinit);
}

int layout_find_self(const char *dir, char ret_path[PATH_MAX], struct snap_error *err)
{
	/* the bundle's launcher knows how to start us; alone we would be ld.so */
	if (try_place(dir, "../bin/snapctl", ret_path) == 0)
		return 0;
	if (!realpath("/proc/self/exe", ret_path))
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot read /proc/self/exe");
	return 0;
}
