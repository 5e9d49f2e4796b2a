/* SPDX-License-Identifier: Apache-2.0 */
#include "common/fd.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
	return FD_NONE;
}

int fd_fill_stdio(void)
{
	int mask = 0;

	for (int fd = 0; fd < 3; fd++) {
		int null;

		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* lowest free number first: this open lands on fd itself */
		null = open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY);
		if (null >= 0 && null != fd) {
			(void)dup2(null, fd);
			(void)close(null);
		}
		mask |= 1 << fd;
	}
	return mask;
}

int fd_dup_above(int fd, int min)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, min);

	return copy < 0 ? -errno : copy;
}

int fd_set_cloexec(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0)
		return -errno;
	flags = on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
	return fcntl(fd, F_SETFD, flags) < 0 ? -errno : 0;
}

int fd_set_nonblock(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	flags = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

bool fd_is_cloexec(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	return flags >= 0 && (flags & FD_CLOEXEC);
}

static int close_range_(unsigned int first, unsigned int last)
{
	if (first > last)
		return 0;
	if (syscall(SYS_close_range, first, last, 0U) == 0)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;

	/* old kernel or a filter: up to the soft limit, one by one */
	long max = sysconf(_SC_OPEN_MAX);
	for (long fd = first; fd <= (long)last && fd < max; fd++)
		(void)close((int)fd);
	return 0;
}

/* smallest kept descriptor >= from, or -1 */
static int next_kept(int from, const int *keep, unsigned int n)
{
	int best = -1;

	for (unsigned int i = 0; i < n; i++) {
		if (keep[i] >= from && (best < 0 || keep[i] < best))
			best = keep[i];
	}
	return best;
}

int fd_close_from_except(int first, const int *keep, unsigned int n)
{
	for (;;) {
		int kept = next_kept(first, keep, n);
		int r;

		if (kept < 0)
			return close_range_((unsigned int)first, ~0U);
		r = kept == first ? 0 : close_range_((unsigned int)first, (unsigned int)kept - 1);
		if (r < 0)
			return r;
		first = kept + 1;
	}
}
