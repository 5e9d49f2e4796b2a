/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/criu/kdat.h"

#include <fcntl.h>
#include <sched.h>
#include <sha2.h>
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
#include "snapshot/task/shmem.h"
#include "snapshot/temporary.h"
#include "snapshot/trusted.h"

#define KDAT_NAME      "criu.kdat"
#define KDAT_DIGEST    "digest"
#define DIGEST_HEX     64
#define FOLDER_FLAGS   (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define KDAT_RUN       "/run/" KDAT_NAME
#define KDAT_SIZE_MAX  65536U
#define KDAT_SHMEM_AT  8U /* struct kerndat_s: two 32-bit magics, then dev_t shmem_dev */
#define KEY_HEX	       32U
#define PROBE_LIMIT_MS 10000U

static void make_key(const struct criu_program *program, const struct fingerprint *here,
		     bool unprivileged, char ret_key[KEY_HEX + 1])
{
	char text[2048], digest[DIGEST_HEX + 1];

	(void)snprintf(text, sizeof(text), "%s|%s|%s|%s|%s|%d|%d|%d|%llx", here->machine,
		       here->kernel_release, here->kernel_version, program->build_id,
		       here->criu_version ? here->criu_version : "", unprivileged,
		       here->seccomp_filter, (int)geteuid(),
		       (unsigned long long)here->caps_effective);
	(void)SHA256Data((const uint8_t *)text, strlen(text), digest);
	(void)snprintf(ret_key, KEY_HEX + 1, "%.*s", (int)KEY_HEX, digest);
}

/* does the cache know today's device of shared memory? */
static bool is_current(const char *data, size_t size)
{
	dev_t today = shmem_device(), dev;

	if (today == 0 || size < KDAT_SHMEM_AT + sizeof(dev))
		return false;
	memcpy(&dev, data + KDAT_SHMEM_AT, sizeof(dev));
	return dev == today;
}

/* hex SHA-256 of the cache, kept beside it: a damaged one breaks every restore */
static void make_digest(const char *data, size_t size, char ret_hex[DIGEST_HEX + 1])
{
	(void)SHA256Data((const uint8_t *)data, size, ret_hex);
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

/* the folder of a key, if nobody but us and root could have put anything there */
static int open_key(const struct store *store, const char *key)
{
	snap_cleanup_close int kdat_fd = openat(store->fd, "kdat", FOLDER_FLAGS);
	snap_cleanup_close int key_fd = FD_NONE;

	if (kdat_fd < 0 || trusted_check_fd(kdat_fd, "kdat", NULL) < 0)
		return -ENOENT;
	key_fd = openat(kdat_fd, key, FOLDER_FLAGS);
	if (key_fd < 0 || trusted_check_tree(key_fd, key, NULL) < 0)
		return -ENOENT;
	return TAKE_FD(key_fd);
}

/* the folder, which is the caller's to close, and the cache in it; or -errno */
static int read_kept(const struct store *store, const char *key, char **ret, size_t *ret_size)
{
	snap_cleanup_close int key_fd = open_key(store, key);
	char wanted[DIGEST_HEX + 1], found[DIGEST_HEX + 2];
	int r;

	if (key_fd < 0)
		return key_fd;
	r = read_cache(key_fd, KDAT_NAME, ret, ret_size);
	if (r < 0)
		return r;
	make_digest(*ret, *ret_size, wanted);
	if (io_read_line(key_fd, KDAT_DIGEST, found, sizeof(found)) != DIGEST_HEX ||
	    strcmp(wanted, found) != 0) {
		free(TAKE_PTR(*ret));
		return -EUCLEAN;
	}
	return TAKE_FD(key_fd);
}

/* privileged CRIU looks in /run only; what it has there of this boot is as good as ours */
static bool put_to_run(const char *data, size_t size)
{
	snap_cleanup_free char *old = NULL;
	size_t old_size;

	if (read_cache(AT_FDCWD, KDAT_RUN, &old, &old_size) == 0)
		return true;
	return io_replace_file(AT_FDCWD, KDAT_RUN, data, size, 0600, NULL) == 0;
}

void kdat_find(const struct store *store, const struct criu_program *program,
	       const struct fingerprint *here, bool unprivileged, struct kdat *ret)
{
	char key[KEY_HEX + 1];
	snap_cleanup_free char *data = NULL;
	snap_cleanup_close int dir_fd = FD_NONE;
	size_t size;

	*ret = (struct kdat){.dir_fd = FD_NONE};
	make_key(program, here, unprivileged, key);
	dir_fd = read_kept(store, key, &data, &size);
	if (dir_fd < 0 || (!unprivileged && !put_to_run(data, size)))
		return;
	ret->dir_fd = TAKE_FD(dir_fd);
	ret->hit = true;
}

void kdat_done(struct kdat *kdat)
{
	kdat->dir_fd = fd_close(kdat->dir_fd);
}

struct probe {
	const char *dir;
	bool unprivileged;
};

/* in the child: CRIU leaves its cache in dir, which it sees as /run when it looks there */
static int prepare_probe(void *arg)
{
	const struct probe *probe = arg;

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
	int status, r = criu_program_spawn(program, args, probe->dir, &spec, &process, err);

	if (r < 0)
		return r;
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

static int keep(const struct store *store, const char *key, const char *data, size_t size,
		struct snap_error *err)
{
	snap_cleanup_close int kdat_fd = FD_NONE;
	snap_cleanup_close int key_fd = FD_NONE;
	char dir[80], digest[DIGEST_HEX + 1];
	int r;

	(void)snprintf(dir, sizeof(dir), "kdat/%s", key);
	/* not by its path: kdat may be a link to elsewhere, where nothing shall be made */
	if (mkdirat(store->fd, "kdat", 0700) < 0 && errno != EEXIST)
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make 'kdat'");
	kdat_fd = openat(store->fd, "kdat", FOLDER_FLAGS);
	if (kdat_fd < 0 || (mkdirat(kdat_fd, key, 0700) < 0 && errno != EEXIST))
		return snap_fail(err, SNAP_E_INTERNAL, errno, "cannot make '%s'", dir);
	key_fd = open_key(store, key);
	if (key_fd < 0)
		return snap_fail_plain(err, SNAP_E_CORRUPT, EPERM,
				       "others may write to '%s' in the store", dir);
	make_digest(data, size, digest);
	r = io_replace_file(key_fd, KDAT_NAME, data, size, 0600, err);
	if (r == 0)
		r = io_replace_file(key_fd, KDAT_DIGEST, digest, DIGEST_HEX, 0600, err);
	return r;
}

int kdat_make(const struct store *store, const struct criu_program *program,
	      const struct fingerprint *here, bool unprivileged, struct snap_error *err)
{
	char key[KEY_HEX + 1], tmp[FOLDER_PATH_MAX];
	snap_cleanup_free char *data = NULL;
	snap_cleanup_free char *old = NULL;
	size_t size;
	int fd, r;

	make_key(program, here, unprivileged, key);
	fd = read_kept(store, key, &old, &size);
	if (fd >= 0) {
		(void)fd_close(fd);
		return 0;
	}
	fd = temporary_folder("/dev/shm", "kdat", tmp);
	if (fd < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, -fd, "cannot make '%s'", tmp);
	r = probe_into(tmp, program, unprivileged, &data, &size, err);
	(void)fd_close(fd);
	(void)rmdir(tmp);
	return r < 0 ? r : keep(store, key, data, size, err);
}
