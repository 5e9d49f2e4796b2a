/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/criu/kdat.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/process.h"

#define KDAT_NAME      "criu.kdat"
#define KDAT_RUN       "/run/" KDAT_NAME
#define KDAT_SIZE_MAX  65536U
#define KDAT_SHMEM_AT  8U /* struct kerndat_s: two 32-bit magics, then dev_t shmem_dev */
#define KEY_HEX	       32U
#define PROBE_LIMIT_MS 10000U

static void make_key(const struct criu_program *program, const struct fingerprint *here,
		     bool unprivileged, char ret_key[KEY_HEX + 1])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int size = 0;
	char text[2048];

	(void)snprintf(text, sizeof(text), "%s|%s|%s|%s|%s|%d|%d|%d|%llx", here->machine,
		       here->kernel_release, here->kernel_version, program->build_id,
		       here->criu_version ? here->criu_version : "", unprivileged,
		       here->seccomp_filter, (int)geteuid(),
		       (unsigned long long)here->caps_effective);
	if (EVP_Digest(text, strlen(text), digest, &size, EVP_sha256(), NULL) != 1)
		size = 0;
	for (unsigned int i = 0; i < KEY_HEX / 2; i++)
		(void)snprintf(ret_key + (size_t)2 * i, 3, "%02x", i < size ? digest[i] : 0U);
}

/* does the cache know today's device of shared memory? */
static bool is_current(const char *data, size_t size)
{
	snap_cleanup_close int fd = memfd_create("probe", MFD_CLOEXEC);
	struct stat st;
	dev_t dev;

	if (fd < 0 || fstat(fd, &st) < 0 || size < KDAT_SHMEM_AT + sizeof(dev))
		return false;
	memcpy(&dev, data + KDAT_SHMEM_AT, sizeof(dev));
	return dev == st.st_dev;
}

static int read_cache(int dir_fd, const char *path, char **ret, size_t *ret_size)
{
	int r = io_read_file(dir_fd, path, KDAT_SIZE_MAX, ret, ret_size, NULL);

	if (r < 0)
		return r;
	if (!is_current(*ret, *ret_size)) {
		free(TAKE_PTR(*ret));
		return -ESTALE;
	}
	return 0;
}

/* privileged CRIU looks in /run only */
static bool put_to_run(const char *data, size_t size)
{
	snap_cleanup_free char *old = NULL;
	size_t old_size;

	if (read_cache(AT_FDCWD, KDAT_RUN, &old, &old_size) == 0 && old_size == size &&
	    memcmp(old, data, size) == 0)
		return true;
	return io_replace_file(AT_FDCWD, KDAT_RUN, data, size, 0600, NULL) == 0;
}

void kdat_find(const struct store *store, const struct criu_program *program,
	       const struct fingerprint *here, bool unprivileged, struct kdat *ret)
{
	char key[KEY_HEX + 1], name[80];
	snap_cleanup_free char *data = NULL;
	size_t size;

	*ret = (struct kdat){0};
	make_key(program, here, unprivileged, key);
	(void)snprintf(name, sizeof(name), "kdat/%s/" KDAT_NAME, key);
	if (read_cache(store->fd, name, &data, &size) < 0)
		return;
	if (!unprivileged && !put_to_run(data, size))
		return;
	(void)snprintf(ret->dir, sizeof(ret->dir), "%s/kdat/%s", store->path, key);
	ret->hit = true;
}

struct probe {
	const char *dir;
	bool unprivileged;
};

/* in the child: CRIU leaves its cache in dir, which it sees as /run when it looks there */
static int prepare_probe(void *arg)
{
	const struct probe *probe = arg;

	if (setenv("XDG_RUNTIME_DIR", probe->dir, 1) < 0)
		return -errno;
	if (probe->unprivileged)
		return 0;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(probe->dir, "/run", NULL, MS_BIND, NULL) < 0)
		return -errno;
	return 0;
}

/* `criu check` probes the kernel first; its verdict does not matter here */
static int run_probe(const struct criu_program *program, struct probe *probe,
		     struct snap_error *err)
{
	const char *const args[] = {"check", probe->unprivileged ? "--unprivileged" : NULL, NULL};
	const char *argv[CRIU_ARGV_MAX];
	snap_cleanup_close int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct process_fd fds[] = {{null_fd, 0}, {null_fd, 1}, {null_fd, 2}};
	struct process_spec spec = {
		.fds = fds,
		.n_fds = ARRAY_LEN(fds),
		.close_fds = true,
		.death_signal = SIGKILL,
		.prepare = prepare_probe,
		.prepare_arg = probe,
	};
	struct pidref process = PIDREF_NONE;
	int status, r;

	criu_program_argv(program, args, argv);
	spec.path = argv[0];
	spec.argv = (char *const *)(uintptr_t)argv;
	r = process_spawn(&spec, &process, err);
	if (r != 0)
		return r < 0 ? r : -ENOEXEC;
	if (process_wait(&process, deadline_after_ms(PROBE_LIMIT_MS), &status) < 0) {
		(void)pidref_kill(&process, SIGKILL);
		(void)process_wait(&process, DEADLINE_NEVER, &status);
	}
	pidref_done(&process);
	return 0;
}

/* let CRIU write its cache into dir (on a tmpfs), and read it */
static int probe_into(const char *dir, const struct criu_program *program, bool unprivileged,
		      char **ret, size_t *ret_size, struct snap_error *err)
{
	struct probe probe = {dir, unprivileged};
	char path[128];
	int r = run_probe(program, &probe, err);

	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "%s/" KDAT_NAME, dir);
	r = read_cache(AT_FDCWD, path, ret, ret_size);
	(void)unlink(path);
	(void)snprintf(path, sizeof(path), "%s/" KDAT_NAME ".tmp", dir);
	(void)unlink(path);
	if (r < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, -r, "CRIU left no usable %s in '%s'",
				 KDAT_NAME, dir);
	return 0;
}

int kdat_make(const struct store *store, const struct criu_program *program,
	      const struct fingerprint *here, bool unprivileged, struct snap_error *err)
{
	char key[KEY_HEX + 1], dir[80], name[96], tmp[] = "/dev/shm/.snapinit-XXXXXX";
	snap_cleanup_free char *data = NULL;
	snap_cleanup_free char *old = NULL;
	size_t size;
	int r;

	make_key(program, here, unprivileged, key);
	(void)snprintf(dir, sizeof(dir), "kdat/%s", key);
	(void)snprintf(name, sizeof(name), "%s/" KDAT_NAME, dir);
	if (read_cache(store->fd, name, &old, &size) == 0)
		return 0;

	if (!mkdtemp(tmp))
		return snap_fail(err, SNAP_E_PREFLIGHT, errno, "cannot make a folder in /dev/shm");
	r = probe_into(tmp, program, unprivileged, &data, &size, err);
	(void)rmdir(tmp);
	if (r < 0)
		return r;
	if ((mkdirat(store->fd, "kdat", 0700) < 0 && errno != EEXIST) ||
	    (mkdirat(store->fd, dir, 0700) < 0 && errno != EEXIST))
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make '%s'", dir);
	return io_replace_file(store->fd, name, data, size, 0600, err);
}
