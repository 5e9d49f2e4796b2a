/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/criu/program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "snapshot/criu/criu_environment.h"
#include "snapshot/fingerprint.h"

#define LIB_DIR "usr/lib/x86_64-linux-gnu"

/* folder of the running program, without a slash at its end */
static int self_dir(char *buf, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", buf, size - 1);
	char *slash;

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	slash = strrchr(buf, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	return 0;
}

static int join(char *buf, size_t size, const char *dir, const char *name)
{
	int n = snprintf(buf, size, "%s/%s", dir, name);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/*
 * CRIU runs under a copy of ld.so of its own. A restored process takes over /proc/PID/exe, and the
 * kernel refuses that (EBUSY) while the old file, the ld.so that runs CRIU, is mapped by the
 * engine.
 */
#define BUNDLE_LDSO "snapinit/ld-criu.so"
#define PREFIX_LDSO "usr/libexec/ld-criu.so"

/* TOP/lib/ld-linux-x86-64.so.2 runs us, TOP/lib/snapinit/criu lies below */
static int find_in_bundle(const char *dir, struct criu_program *ret)
{
	if (join(ret->path, sizeof(ret->path), dir, "snapinit/criu") < 0 ||
	    access(ret->path, X_OK) < 0)
		return -ENOENT;
	if (join(ret->ldso, sizeof(ret->ldso), dir, BUNDLE_LDSO) < 0 || access(ret->ldso, X_OK) < 0)
		return -ENOENT;
	return join(ret->libpath, sizeof(ret->libpath), dir, ".");
}

/* a private prefix made from packages: PREFIX/usr/sbin/criu with PREFIX's ld.so */
static int find_in_prefix(const char *prefix, struct criu_program *ret)
{
	if (join(ret->path, sizeof(ret->path), prefix, "usr/sbin/criu") < 0 ||
	    access(ret->path, X_OK) < 0)
		return -ENOENT;
	if (join(ret->libpath, sizeof(ret->libpath), prefix, LIB_DIR) < 0 ||
	    join(ret->ldso, sizeof(ret->ldso), prefix, PREFIX_LDSO) < 0)
		return -ENAMETOOLONG;
	return access(ret->ldso, X_OK) < 0 ? -ENOENT : 0;
}

static int find_in_path(struct criu_program *ret)
{
	const char *path = getenv("PATH");
	snap_cleanup_free char *copy = strdup(path ? path : "/usr/sbin:/usr/bin:/sbin:/bin");
	char *save = NULL;

	if (!copy)
		return -ENOMEM;
	for (char *dir = strtok_r(copy, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
		if (join(ret->path, sizeof(ret->path), dir, "criu") == 0 &&
		    access(ret->path, X_OK) == 0)
			return 0;
	}
	return -ENOENT;
}

/* PREFIX/bin/criu is a wrapper of ours, PREFIX/usr/sbin/criu the program: same prefix */
static int find_chosen(const char *chosen, struct criu_program *ret)
{
	static const char *const tails[] = {"/bin/criu", "/usr/sbin/criu"};
	char real[PATH_MAX];

	if (!realpath(chosen, real))
		return -errno;
	for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
		size_t len = strlen(real), tail = strlen(tails[i]);
		char prefix[PATH_MAX];

		if (len <= tail || strcmp(real + len - tail, tails[i]) != 0)
			continue;
		memcpy(prefix, real, len - tail);
		prefix[len - tail] = '\0';
		if (find_in_prefix(prefix, ret) == 0)
			return 0;
	}
	*ret = (struct criu_program){0};
	if (access(real, X_OK) < 0)
		return -errno;
	memcpy(ret->path, real, strlen(real) + 1);
	return 0;
}

static int find_unchosen(struct criu_program *ret)
{
	char dir[PATH_MAX], prefix[PATH_MAX + 16], real[PATH_MAX];

	if (self_dir(dir, sizeof(dir)) == 0) {
		if (find_in_bundle(dir, ret) == 0)
			return 0;
		*ret = (struct criu_program){0};
		(void)snprintf(prefix, sizeof(prefix), "%s/../../prefix", dir);
		if (realpath(prefix, real) && find_in_prefix(real, ret) == 0)
			return 0;
		*ret = (struct criu_program){0};
	}
	return find_in_path(ret);
}

int criu_program_find(const char *chosen, struct criu_program *ret, struct snap_error *err)
{
	int r;

	*ret = (struct criu_program){0};
	r = chosen ? find_chosen(chosen, ret) : find_unchosen(ret);
	if (r < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, -r,
				 "no CRIU program '%s'; use the bundle or --criu PATH",
				 chosen ? chosen : "criu");
	if (elf_build_id(ret->path, ret->build_id, sizeof(ret->build_id)) < 0)
		ret->build_id[0] = '\0';
	return 0;
}

void criu_program_argv(const struct criu_program *program, const char *const *args,
		       const char *ret_argv[CRIU_ARGV_MAX])
{
	int n = 0;

	if (program->ldso[0]) {
		ret_argv[n++] = program->ldso;
		ret_argv[n++] = "--library-path";
		ret_argv[n++] = program->libpath;
	}
	ret_argv[n++] = program->path;
	while (*args && n < CRIU_ARGV_MAX - 1)
		ret_argv[n++] = *args++;
	ret_argv[n] = NULL;
}

int criu_program_spawn(const struct criu_program *program, const char *const *args,
		       const char *runtime_dir, struct process_spec *spec, struct pidref *ret,
		       struct snap_error *err)
{
	snap_cleanup(criu_environment_done) struct criu_environment environment = {0};
	const char *argv[CRIU_ARGV_MAX];
	int r = criu_environment_make(runtime_dir, &environment);

	if (r < 0)
		return snap_fail(err, SNAP_E_INTERNAL, -r, "cannot prepare CRIU's environment");
	criu_program_argv(program, args, argv);
	spec->path = argv[0];
	spec->argv = (char *const *)(uintptr_t)argv;
	spec->envp = environment.envp;
	r = process_spawn(spec, ret, err);
	return r > 0 ? -ENOEXEC : r;
}
