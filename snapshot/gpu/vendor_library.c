/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/gpu/vendor_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/user_namespace.h"

static int check_owner(const char *path, struct snap_error *err)
{
	struct stat st;
	bool is_ours, is_outside;

	if (stat(path, &st) < 0)
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

int vendor_library_load(const char *path, int flags, void **ret, struct snap_error *err)
{
	snap_cleanup_free char *file = realpath(path, NULL);
	char *slash;
	int r;

	if (!file)
		return snap_fail(err, SNAP_E_GPU, errno, "cannot load '%s'", path);
	r = check_owner(file, err);
	if (r < 0)
		return r;
	*ret = NULL;
	slash = strrchr(file, '/');
	*slash = '\0';
	r = check_owner(slash == file ? "/" : file, err);
	*slash = '/';
	if (r < 0)
		return r;
	*ret = dlopen(file, flags);
	if (!*ret)
		return snap_fail_plain(err, SNAP_E_GPU, ELIBACC, "cannot load '%s': %s", file,
				       dlerror());
	return 0;
}

/* ISO C has no cast from an object pointer to a function pointer; POSIX has both of one size */
void vendor_library_set(void *base, size_t offset, const void *address)
{
	_Static_assert(sizeof(address) == sizeof(void (*)(void)), "pointers of one size");
	memcpy((char *)base + offset, &address, sizeof(address));
}
