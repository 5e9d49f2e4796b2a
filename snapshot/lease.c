/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Taking: the complete text is written under a name of its own and linked to `lease`, which fails
 * when there is one; so nobody ever reads half a lease. A lease that has expired, or whose holder
 * is known to be dead, is renamed aside, looked at once more, and only then removed: between our
 * judging it and our renaming it, it may have been broken and taken by somebody else.
 *
 * A lock on the folder makes these steps one where the kernel has such locks; the steps are right
 * without it but for one case: a fresh lease renamed aside by mistake while a third process takes
 * the free place. The holder then notices at lease_check(), before it publishes.
 *
 * Dead means: same boot, same pid namespace, and no process of that pid and start time. From
 * another namespace or host a pid says nothing, and only the expiry counts.
 */

#include "snapshot/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fd.h"
#include "common/io.h"
#include "common/procfs.h"

#define LEASE_NAME	"lease"
#define LEASE_TEXT_MAX	512
#define LEASE_MS_MAX	(7ULL * 24 * 3600 * 1000)
#define LOCK_WAIT_MS	2000
#define LOCK_PAUSE_NS	5000000L
#define UNREADABLE_MS	10000U /* a torn lease is left alone that long */
#define TAKE_ATTEMPTS	8
#define BOOT_ID_DIGITS	36
#define BOOT_ID_UNKNOWN "unknown"

struct lease {
	int pid;
	uint64_t start_ticks;
	char boot_id[BOOT_ID_DIGITS + 1];
	uint64_t pid_ns;     /* inode of /proc/self/ns/pid */
	uint64_t expires_ms; /* of the real-time clock, since 1970 */
	char token[LEASE_TOKEN_DIGITS + 1];
};

static uint64_t real_time_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / NS_PER_MS;
}

static void read_boot_id(char ret[BOOT_ID_DIGITS + 1])
{
	if (io_read_line(AT_FDCWD, "/proc/sys/kernel/random/boot_id", ret, BOOT_ID_DIGITS + 1) !=
	    BOOT_ID_DIGITS)
		(void)snprintf(ret, BOOT_ID_DIGITS + 1, "%s", BOOT_ID_UNKNOWN);
}

static uint64_t read_pid_ns(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) < 0 ? 0 : (uint64_t)st.st_ino;
}

static int describe_self(uint64_t lease_ms, struct lease *ret)
{
	unsigned char bytes[LEASE_TOKEN_DIGITS / 2];
	struct proc_stat self;
	int r = procfs_stat(getpid(), &self);

	if (r < 0)
		return r;
	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	*ret = (struct lease){
		.pid = getpid(),
		.start_ticks = self.start_ticks,
		.pid_ns = read_pid_ns(),
		.expires_ms = real_time_ms() + (lease_ms < LEASE_MS_MAX ? lease_ms : LEASE_MS_MAX),
	};
	read_boot_id(ret->boot_id);
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)snprintf(ret->token + 2 * i, 3, "%02x", bytes[i]);
	return 0;
}

/* 0, -ENOENT, or -EBADMSG for what is no lease; then *ret_age_ms says how old the file is */
static int read_lease(int dir_fd, const char *name, struct lease *ret, uint64_t *ret_age_ms)
{
	snap_cleanup_close int fd = FD_NONE;
	char text[LEASE_TEXT_MAX];
	struct stat st;
	uint64_t now = real_time_ms(), written;
	ssize_t n;

	/* also a link or a fifo has an age: none of them may block captures for ever */
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? -ENOENT : -EBADMSG;
	written = (uint64_t)st.st_mtim.tv_sec * 1000;
	*ret_age_ms = now > written ? now - written : UINT64_MAX;
	fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EBADMSG;

	n = io_read_full(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -EBADMSG;
	text[n] = '\0';
	*ret = (struct lease){0};
	if (sscanf(text,
		   "pid %d\nstart_ticks %" SCNu64 "\nboot_id %36s\npid_ns %" SCNu64
		   "\nexpires_ms %" SCNu64 "\ntoken %32s",
		   &ret->pid, &ret->start_ticks, ret->boot_id, &ret->pid_ns, &ret->expires_ms,
		   ret->token) != 6 ||
	    strlen(ret->token) != LEASE_TOKEN_DIGITS ||
	    ret->expires_ms > real_time_ms() + LEASE_MS_MAX)
		return -EBADMSG;
	return 0;
}

static bool is_holder_dead(const struct lease *lease)
{
	char boot_id[BOOT_ID_DIGITS + 1];
	struct proc_stat holder;
	int r;

	read_boot_id(boot_id);
	if (strcmp(boot_id, BOOT_ID_UNKNOWN) == 0 || strcmp(boot_id, lease->boot_id) != 0)
		return false;
	if (lease->pid_ns == 0 || lease->pid_ns != read_pid_ns())
		return false;
	r = procfs_stat(lease->pid, &holder);
	if (r == -ENOENT || r == -ESRCH)
		return true;
	return r == 0 && (holder.start_ticks != lease->start_ticks || holder.state == 'Z' ||
			  holder.state == 'X');
}

static bool is_over(const struct lease *lease)
{
	return real_time_ms() >= lease->expires_ms || is_holder_dead(lease);
}

static int write_text(int dir_fd, const char *name, const char *text)
{
	snap_cleanup_close int fd =
		openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = io_write_full(fd, text, strlen(text));
	if (r < 0)
		(void)unlinkat(dir_fd, name, 0);
	return r;
}

/* 0, -EEXIST when there is a lease, or another -errno */
static int create_lease(int dir_fd, const struct lease *lease)
{
	char text[LEASE_TEXT_MAX], tmp[64];
	int r;

	(void)snprintf(text, sizeof(text),
		       "pid %d\nstart_ticks %" PRIu64 "\nboot_id %s\npid_ns %" PRIu64
		       "\nexpires_ms %" PRIu64 "\ntoken %s\n",
		       lease->pid, lease->start_ticks, lease->boot_id, lease->pid_ns,
		       lease->expires_ms, lease->token);
	(void)snprintf(tmp, sizeof(tmp), "%s.tmp.%s", LEASE_NAME, lease->token);
	r = write_text(dir_fd, tmp, text);
	if (r < 0)
		return r;
	if (linkat(dir_fd, tmp, dir_fd, LEASE_NAME, 0) < 0)
		r = -errno;
	(void)unlinkat(dir_fd, tmp, 0);
	/* no hard links on this file system: O_EXCL alone, readable half-written for a moment */
	if (r == -EPERM || r == -EOPNOTSUPP || r == -ENOSYS || r == -EMLINK)
		r = write_text(dir_fd, LEASE_NAME, text);
	return r;
}

/* judged: what was read, NULL if unreadable. 0, or negative when it is another one by now */
static int break_lease(int dir_fd, const struct lease *judged, const char *own_token)
{
	char aside[64];
	struct lease moved;
	uint64_t age_ms;
	int r;

	(void)snprintf(aside, sizeof(aside), "%s.stale.%s", LEASE_NAME, own_token);
	if (renameat(dir_fd, LEASE_NAME, dir_fd, aside) < 0)
		return errno == ENOENT ? 0 : -errno;
	r = read_lease(dir_fd, aside, &moved, &age_ms);
	if (r == 0 && (!judged || strcmp(moved.token, judged->token) != 0)) {
		/* a third one may have taken the place: the holder finds out at lease_check() */
		r = linkat(dir_fd, aside, dir_fd, LEASE_NAME, 0) < 0 ? -ESTALE : -EBUSY;
	} else {
		r = 0;
	}
	(void)unlinkat(dir_fd, aside, 0);
	return r;
}

int lease_lock(int dir_fd)
{
	snap_cleanup_close int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t deadline_ns = deadline_after_ms(LOCK_WAIT_MS);

	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};

		if (errno == EINTR)
			continue;
		/* NFS wants a descriptor that can write, which a folder's cannot be */
		if (errno != EWOULDBLOCK)
			return FD_NONE;
		if (clock_now_ns() >= deadline_ns)
			return -EBUSY;
		(void)nanosleep(&pause, NULL);
	}
	return TAKE_FD(fd);
}

static int fail_busy(const struct lease *holder, bool readable, struct snap_error *err)
{
	time_t until = (time_t)(holder->expires_ms / 1000);
	char when[32] = "an unknown time";
	struct tm tm;

	if (!readable)
		return snap_fail_plain(
			err, SNAP_E_PREFLIGHT, EBUSY,
			"the store's 'lease' is no lease; it is broken %u s after it "
			"was made",
			UNREADABLE_MS / 1000);
	if (gmtime_r(&until, &tm))
		(void)strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return snap_fail_plain(
		err, SNAP_E_PREFLIGHT, EBUSY,
		"another capture has the store's lease (pid %d, until %s at the latest)",
		holder->pid, when);
}

int lease_take(int dir_fd, uint64_t lease_ms, char ret_token[LEASE_TOKEN_DIGITS + 1],
	       struct snap_error *err)
{
	snap_cleanup_close int lock = lease_lock(dir_fd);
	struct lease own, held = {0};
	uint64_t age_ms = 0;
	int r;

	if (lock == -EBUSY)
		return snap_fail(err, SNAP_E_PREFLIGHT, EBUSY, "the store is locked");
	r = describe_self(lease_ms, &own);
	if (r < 0)
		return snap_fail(err, SNAP_E_PREFLIGHT, -r, "cannot describe ourselves in a lease");

	for (int i = 0; i < TAKE_ATTEMPTS; i++) {
		bool readable;

		r = create_lease(dir_fd, &own);
		if (r == 0) {
			memcpy(ret_token, own.token, sizeof(own.token));
			return 0;
		}
		if (r != -EEXIST)
			return snap_fail(err, SNAP_E_PREFLIGHT, -r,
					 "cannot take the store's lease");
		r = read_lease(dir_fd, LEASE_NAME, &held, &age_ms);
		if (r == -ENOENT)
			continue;
		readable = r == 0;
		if (readable ? !is_over(&held) : age_ms < UNREADABLE_MS)
			return fail_busy(&held, readable, err);
		(void)break_lease(dir_fd, readable ? &held : NULL, own.token);
	}
	return fail_busy(&held, true, err);
}

int lease_probe(int dir_fd, struct snap_error *err)
{
	struct lease held = {0};
	uint64_t age_ms = 0;
	int r = read_lease(dir_fd, LEASE_NAME, &held, &age_ms);

	if (r == -ENOENT)
		return 0;
	if (r == 0 ? is_over(&held) : age_ms >= UNREADABLE_MS)
		return 1;
	return fail_busy(&held, r == 0, err);
}

int lease_check(int dir_fd, const char *token)
{
	struct lease held;
	uint64_t age_ms;

	if (read_lease(dir_fd, LEASE_NAME, &held, &age_ms) < 0)
		return -ESTALE;
	return strcmp(held.token, token) == 0 ? 0 : -ESTALE;
}

void lease_drop(int dir_fd, const char *token)
{
	snap_cleanup_close int lock = lease_lock(dir_fd);

	if (lock != -EBUSY && lease_check(dir_fd, token) == 0)
		(void)unlinkat(dir_fd, LEASE_NAME, 0);
}

int lease_drop_of_dead(int dir_fd, uint64_t pid_ns)
{
	snap_cleanup_close int lock = lease_lock(dir_fd);
	struct lease held;
	uint64_t age_ms;

	if (lock == -EBUSY)
		return -EBUSY;
	if (read_lease(dir_fd, LEASE_NAME, &held, &age_ms) < 0 || held.pid_ns == 0 ||
	    held.pid_ns != pid_ns)
		return -ENOENT;
	return unlinkat(dir_fd, LEASE_NAME, 0) < 0 ? -errno : 0;
}
