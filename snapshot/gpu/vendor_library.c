/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/vendor_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/user_namespace.h"

#define DOTS_MAX 64U

static int check_owner(int fd, const char *path, struct snap_error *err)
{
	struct stat st;
	bool is_ours, is_outside;

	if (fstat(fd, &st) < 0)
		return snap_fail(err, SNAP_E_GPU, errno, "cannot look at '%s'", path);
	is_ours = st.st_uid == 0 || st.st_uid == geteuid();
	is_outside = st.st_uid == USER_NAMESPACE_OVERFLOW_UID &&
		     !user_namespace_has(USER_NAMESPACE_OVERFLOW_UID);
	if (!is_ours && !is_outside)
		return snap_fail_plain(err, SNAP_E_GPU, EPERM,
				       "'%s' is not loaded: it is owned by uid %u, neither ours "
				       "(%u) nor root's",
				       path, st.st_uid, geteuid());
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
		return snap_fail_plain(err, SNAP_E_GPU, EPERM,
				       "'%s' is not loaded: others may write to it (mode %04o; "
				       "remedy: chmod go-w)",
				       path, st.st_mode & 07777);
	return 0;
}

/*
 * By the descriptor that was looked at: who may exchange folders of the path would win between the
 * look and the load. ld.so knows libraries by name, so no two may have one: each name has a dot
 * more.
 */
static void *load(int fd, int flags)
{
	static atomic_uint n_loaded;
	unsigned int dots = atomic_fetch_add(&n_loaded, 1) % DOTS_MAX;
	char name[32 + 2 * DOTS_MAX];
	size_t used = (size_t)snprintf(name, sizeof(name), "/proc/self");

	for (unsigned int i = 0; i < dots; i++)
		used += (size_t)snprintf(name + used, sizeof(name) - used, "/.");
	(void)snprintf(name + used, sizeof(name) - used, "/fd/%d", fd);
	return dlopen(name, flags);
}

int vendor_library_load(const char *path, int flags, void **ret, struct snap_error *err)
{
	snap_cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r;

	*ret = NULL;
	if (fd < 0)
		return snap_fail(err, SNAP_E_GPU, errno, "cannot open '%s'", path);
	r = check_owner(fd, path, err);
	if (r < 0)
		return r;
	*ret = load(fd, flags);
	if (!*ret)
		return snap_fail_plain(err, SNAP_E_GPU, ELIBACC, "cannot load '%s': %s", path,
				       dlerror());
	return 0;
}

/* ISO C has no cast from an object pointer to a function pointer; POSIX has both of one size */
void vendor_library_set(void *base, size_t offset, const void *address)
{
	_Static_assert(sizeof(address) == sizeof(void (*)(void)), "pointers of one size");
	memcpy((char *)base + offset, &address, sizeof(address));
}
