/* SPDX-License-Identifier: Apache-2.0 */
/* Where things are: file systems and limits. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cli/checks.h"
#include "cli/credentials.h"
#include "cli/output.h"
#include "common/fd.h"
#include "snapshot/store.h"

#define OVERLAY_MAGIC  0x794c7630
#define TMPFS_MAGIC_32 0x01021994
#define DEVSHM_MIN     (64ULL << 20) /* Docker's default */
#define MEMORY_MIN     (64ULL << 20)
#define NOFILE_MIN     1024

static const char *fs_name(const struct statfs *fs)
{
	switch ((unsigned long)fs->f_type) {
	case TMPFS_MAGIC_32:
		return "tmpfs";
	case OVERLAY_MAGIC:
		return "overlay";
	case EXT4_SUPER_MAGIC:
		return "ext4";
	case XFS_SUPER_MAGIC:
		return "xfs";
	case BTRFS_SUPER_MAGIC:
		return "btrfs";
	case NFS_SUPER_MAGIC:
		return "nfs";
	default:
		return "other";
	}
}

static uint64_t free_bytes(const struct statfs *fs)
{
	uint64_t bytes;

	if (__builtin_mul_overflow((uint64_t)fs->f_bavail, (uint64_t)fs->f_bsize, &bytes))
		return UINT64_MAX;
	return bytes;
}

void probe_root_filesystem(const struct doctor *doctor, struct finding *ret)
{
	char size[OUTPUT_SIZE_MAX];
	struct statfs fs;

	(void)doctor;
	finding_required(ret, "not in memory");
	if (statfs("/", &fs) < 0) {
		finding_set(ret, CHECK_WARN, "cannot look at /", NULL);
		return;
	}
	finding_observed(ret, "%s, %s free", fs_name(&fs), output_size(free_bytes(&fs), size));
	if ((unsigned long)fs.f_type == TMPFS_MAGIC_32)
		finding_set(
			ret, CHECK_WARN,
			"the root filesystem is in memory: what is written to it counts against "
			"the memory limit, snapshots too",
			"put the store on a volume");
	else
		finding_set(ret, CHECK_OK, "on a disk", NULL);
}

void probe_shared_memory(const struct doctor *doctor, struct finding *ret)
{
	char size[OUTPUT_SIZE_MAX];
	struct statfs fs;

	(void)doctor;
	finding_required(ret, "64 MiB free");
	if (statfs("/dev/shm", &fs) < 0) {
		finding_observed(ret, "absent");
		finding_set(ret, CHECK_WARN, "engines with POSIX shared memory will not start",
			    "mount a tmpfs on /dev/shm");
		return;
	}
	finding_observed(ret, "%s, %s free", fs_name(&fs), output_size(free_bytes(&fs), size));
	if (free_bytes(&fs) < DEVSHM_MIN)
		finding_set(ret, CHECK_WARN,
			    "little room for shared memory, which a wake has to put back",
			    "--shm-size, or an emptyDir of medium Memory");
	else
		finding_set(ret, CHECK_OK, "room enough for small segments", NULL);
}

void probe_run(const struct doctor *doctor, struct finding *ret)
{
	bool writable = access("/run", W_OK) == 0;
	struct statfs fs;

	(void)doctor;
	finding_required(ret, "nothing: CRIU's kernel-feature cache is kept in the store");
	if (statfs("/run", &fs) < 0) {
		finding_observed(ret, "absent");
		finding_set(ret, CHECK_OK, "not used", NULL);
		return;
	}
	finding_observed(ret, "%s, %s", fs_name(&fs), writable ? "writable" : "read-only");
	if (writable || strcmp(doctor->host.fingerprint.setting, "A") != 0)
		finding_set(ret, CHECK_OK, "fine", NULL);
	else
		finding_set(
			ret, CHECK_WARN,
			"privileged CRIU looks for its kernel-feature cache in /run only: wakes "
			"are some 40 ms slower",
			"mount a tmpfs on /run");
}

/* how one stays safe that is there; the folder above one that is not */
static void look_at_store(const char *path, struct finding *ret)
{
	struct snap_error err = {.code = SNAP_OK};
	struct store store = {.fd = FD_NONE};
	char size[OUTPUT_SIZE_MAX];
	struct statfs fs;
	struct stat st;

	if (store_open(&store, path, false, &err) < 0) {
		finding_observed(ret, "%s", snap_code_name(err.code));
		finding_set(ret, CHECK_FAIL, err.msg,
			    "give the folder to the engine's user, mode 0700");
		return;
	}
	if (fstat(store.fd, &st) < 0 || fstatfs(store.fd, &fs) < 0) {
		finding_set(ret, CHECK_FAIL, "cannot look at the store", NULL);
	} else {
		finding_observed(ret, "uid %u, mode %04o, %s, %s free, %s", st.st_uid,
				 st.st_mode & 07777, fs_name(&fs),
				 output_size(free_bytes(&fs), size),
				 store_is_writable(&store) ? "writable" : "read-only");
		if ((st.st_mode & 077) != 0)
			finding_set(ret, CHECK_WARN,
				    "others may look into the store, and a snapshot holds whatever "
				    "was in memory",
				    "chmod 0700");
		else if (!store_is_writable(&store))
			finding_set(ret, CHECK_WARN, "wakes only: nothing can be captured into it",
				    "mount it writable to capture");
		else
			finding_set(ret, CHECK_OK, "ours, private and writable", NULL);
	}
	store_close(&store);
}

/* the last component aside */
static bool is_in_a_folder(const char *path)
{
	snap_cleanup_free char *copy = strdup(path);
	struct stat st;

	return copy && stat(dirname(copy), &st) == 0 && S_ISDIR(st.st_mode);
}

void probe_store(const struct doctor *doctor, struct finding *ret)
{
	finding_required(ret, "a folder of ours or root's, mode 0700, writable to capture");
	if (!doctor->store) {
		finding_set(ret, CHECK_SKIP, "no store was named", "--store DIR");
		return;
	}
	if (access(doctor->store, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		finding_observed(ret, "absent");
		if (is_in_a_folder(doctor->store))
			finding_set(ret, CHECK_WARN, "there is no store yet",
				    "snapctl create makes it");
		else
			finding_set(ret, CHECK_FAIL, "there is no folder to make it in",
				    "make the folder above it");
		return;
	}
	credentials_act_as_owner(doctor->store);
	look_at_store(doctor->store, ret);
	credentials_return();
}

void probe_memory_limit(const struct doctor *doctor, struct finding *ret)
{
	const struct fingerprint *here = &doctor->host.fingerprint;
	char limit[OUTPUT_SIZE_MAX], available[OUTPUT_SIZE_MAX];

	finding_observed(ret, "limit %s, %s left", output_size(here->memory_limit, limit),
			 output_size(here->memory_available, available));
	finding_required(ret, "what the engine needs; 64 MiB for ourselves");
	if (here->memory_available < MEMORY_MIN)
		finding_set(ret, CHECK_FAIL, "there is hardly any memory left",
			    "raise the container's memory limit");
	else
		finding_set(ret, CHECK_OK,
			    "a snapshot that needs more than is left is refused by the gate", NULL);
}

void probe_nofile(const struct doctor *doctor, struct finding *ret)
{
	uint64_t nofile = doctor->host.fingerprint.nofile;

	finding_observed(ret, "%" PRIu64, nofile);
	finding_required(ret, ">= 1024 and at least what the capture had");
	if (nofile < NOFILE_MIN)
		finding_set(ret, CHECK_WARN, "few descriptors: engines with many cannot be woken",
			    "--ulimit nofile=65536");
	else
		finding_set(ret, CHECK_OK, "enough", NULL);
}
