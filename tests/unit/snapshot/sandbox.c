/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/snapshot/sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "snapshot/folder.h"

void sandbox_init(struct sandbox *box)
{
	(void)snprintf(box->path, sizeof(box->path), "/tmp/snapinit-test-XXXXXX");
	assert_non_null(mkdtemp(box->path));
	box->fd = open(box->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(box->fd >= 0);
}

void sandbox_done(struct sandbox *box)
{
	int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)close(box->fd);
	assert_true(tmp >= 0);
	assert_int_equal(folder_remove(tmp, box->path + strlen("/tmp/")), 0);
	(void)close(tmp);
}

void sandbox_put(const struct sandbox *box, const char *name, const void *data, size_t size)
{
	char folder[256];
	int fd;

	for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		(void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - name), name);
		(void)mkdirat(box->fd, folder, 0700);
	}
	fd = openat(box->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	(void)close(fd);
}

void sandbox_put_text(const struct sandbox *box, const char *name, const char *text)
{
	sandbox_put(box, name, text, strlen(text));
}

bool sandbox_has(const struct sandbox *box, const char *name)
{
	struct stat st;

	return fstatat(box->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

const char *sandbox_path(const struct sandbox *box, const char *name, char *buf, size_t size)
{
	(void)snprintf(buf, size, "%s/%s", box->path, name);
	return buf;
}

int sandbox_run(uid_t uid, int (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (uid != 0 && (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 ||
				 setresuid(uid, uid, uid) < 0))
			_exit(254);
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
