/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshot/generation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "snapshot/folder.h"
#include "snapshot/manifest.h"

#define NUMBER_DIGITS 9 /* of GENERATION_NUMBER_MAX */
#define HOLD_ATTEMPTS 20
#define HOLD_PAUSE_MS 5

unsigned long generation_number(const char *name)
{
	size_t n;

	if (strncmp(name, GENERATION_PREFIX, strlen(GENERATION_PREFIX)) != 0)
		return 0;
	name += strlen(GENERATION_PREFIX);
	n = strspn(name, "0123456789");
	if (name[0] == '0' || n < 1 || n > NUMBER_DIGITS || name[n] != '\0')
		return 0;
	return strtoul(name, NULL, 10);
}

/* 0, also where there are no locks (some network file systems), or -EBUSY */
static int lock(int fd, int kind)
{
	while (flock(fd, kind | LOCK_NB) < 0) {
		if (errno == EINTR)
			continue;
		return errno == EWOULDBLOCK ? -EBUSY : 0;
	}
	return 0;
}

int generation_hold(int gen_fd)
{
	const struct timespec pause = {.tv_nsec = HOLD_PAUSE_MS * (long)NS_PER_MS};
	struct stat st;

	/* who only looks whether it is in use lets go at once, who removes it does not */
	for (int i = 0; lock(gen_fd, LOCK_SH) < 0; i++) {
		if (i >= HOLD_ATTEMPTS)
			return -ENOENT;
		(void)nanosleep(&pause, NULL);
	}
	if (fstat(gen_fd, &st) < 0)
		return -errno;
	return st.st_nlink == 0 ? -ENOENT : 0;
}

bool generation_is_locked(int gen_fd)
{
	snap_cleanup_close int other = openat(gen_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	/* locks belong to what was opened, so our own keeps us out */
	return other >= 0 && generation_claim(other) < 0;
}

int generation_claim(int gen_fd)
{
	return lock(gen_fd, LOCK_EX);
}

static int remove_folder(int store_fd, const char *name, bool even_used)
{
	snap_cleanup_close int fd =
		openat(store_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0 && !even_used && generation_claim(fd) < 0)
		return -EBUSY;
	if (fd >= 0)
		(void)unlinkat(fd, MANIFEST_NAME, 0);
	return folder_remove(store_fd, name);
}

int generation_remove(int store_fd, const char *name)
{
	return remove_folder(store_fd, name, true);
}

int generation_remove_unused(int store_fd, const char *name)
{
	return remove_folder(store_fd, name, false);
}
