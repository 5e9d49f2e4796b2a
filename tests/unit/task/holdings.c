/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/task/holdings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"

#include "tests/unit/task/holdings_internal.h"

int holding_kept(long fd)
{
	return fd < 0 ? -errno : 0;
}

int holding_open(const char *path, int flags)
{
	return holding_kept(open(path, flags | O_CLOEXEC | O_NOCTTY));
}

pid_t holding_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

void holding_wait(void)
{
	for (;;)
		(void)pause();
}

const char *holding_folder(void)
{
	const char *folder = getenv("SNAP_HELD_DIR");

	return folder ? folder : "/tmp";
}

void holding_path(char *buf, size_t size, const char *word)
{
	(void)snprintf(buf, size, "%s/snap-%s.%d", holding_folder(), word, (int)getpid());
	(void)unlink(buf);
}

int holding_temporary(char *buf)
{
	(void)snprintf(buf, PATH_MAX, "%s/snap-heldXXXXXX", holding_folder());
	return mkostemp(buf, O_CLOEXEC);
}

const struct holding *holding_at(size_t i)
{
	const struct {
		const struct holding *items;
		size_t n;
	} tables[] = {
		{file_holdings, n_file_holdings},
		{device_holdings, n_device_holdings},
		{socket_holdings, n_socket_holdings},
		{task_holdings, n_task_holdings},
	};

	for (size_t k = 0; k < ARRAY_LEN(tables); k++) {
		if (i < tables[k].n)
			return &tables[k].items[i];
		i -= tables[k].n;
	}
	return NULL;
}

const struct holding *holding_find(const char *name)
{
	for (size_t i = 0; holding_at(i); i++) {
		if (strcmp(holding_at(i)->name, name) == 0)
			return holding_at(i);
	}
	return NULL;
}

int holding_start(const struct holding *holding)
{
	int report[2], r = -EIO;
	pid_t pid;

	if (pipe2(report, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		int keep = fcntl(report[1], F_DUPFD_CLOEXEC, 100);

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)setsid();
		for (int fd = 0; fd < 3; fd++)
			(void)dup2(null, fd);
		(void)fd_close_from_except(3, &keep, 1);
		r = holding->hold();
		(void)!write(keep, &r, sizeof(r));
		(void)close(keep);
		holding_wait();
	}
	(void)close(report[1]);
	if (read(report[0], &r, sizeof(r)) != sizeof(r))
		r = -EIO;
	(void)close(report[0]);
	if (r < 0) {
		holding_end(pid);
		return r;
	}
	return pid;
}

void holding_end(int pid)
{
	(void)kill(-pid, SIGKILL);
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}
