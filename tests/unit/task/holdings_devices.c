/* SPDX-License-Identifier: Apache-2.0 */
/* what a process holds: devices and terminals */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"

#include "tests/unit/task/holdings_internal.h"

static int hold_harmless_devices(void)
{
	static const char *const paths[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random",
					    "/dev/urandom"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		int r = holding_open(paths[i], O_RDONLY);

		if (r < 0)
			return r;
	}
	return 0;
}

static int hold_kmsg(void)
{
	return holding_open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
}

static int hold_fuse(void)
{
	return holding_open("/dev/fuse", O_RDWR);
}

static int hold_dev_userfaultfd(void)
{
	return holding_open("/dev/userfaultfd", O_RDWR);
}

static int hold_tun(void)
{
	return holding_open("/dev/net/tun", O_RDWR);
}

static int hold_loop_control(void)
{
	return holding_open("/dev/loop-control", O_RDWR);
}

static int hold_block_device(void)
{
	return holding_open("/dev/loop0", O_RDONLY | O_NONBLOCK);
}

static int hold_autofs(void)
{
	return holding_open("/dev/autofs", O_RDONLY);
}

static int hold_cpu_latency(void)
{
	return holding_open("/dev/cpu_dma_latency", O_RDWR);
}

static int hold_device_path(void)
{
	return holding_open("/dev/fuse", O_PATH);
}

static int hold_console_tty(void)
{
	return holding_open("/dev/tty1", O_RDWR | O_NONBLOCK);
}

static int hold_serial_tty(void)
{
	return holding_open("/dev/ttyS0", O_RDWR | O_NONBLOCK);
}

static int hold_pty_pair(void)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	char name[64];

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
	    ptsname_r(master, name, sizeof(name)) != 0)
		return -errno;
	return holding_open(name, O_RDWR);
}

static int hold_pty_master(void)
{
	return holding_kept(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
}

/* a process that left us holds the master, we the slave */
static int pty_with_outside_master(bool control)
{
	int go[2], slave;
	char name[64];
	pid_t pid;
	ssize_t n;

	if (pipe(go) < 0)
		return -errno;
	pid = fork();
	if (pid == 0 && fork() == 0) {
		int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);

		if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
		    ptsname_r(master, name, sizeof(name)) != 0)
			_exit(1);
		(void)setsid();
		(void)!write(go[1], name, sizeof(name));
		(void)close(go[0]);
		(void)close(go[1]);
		(void)sleep(30);
		_exit(0);
	}
	if (pid == 0)
		_exit(0);
	(void)waitpid(pid, NULL, 0);
	(void)close(go[1]);
	n = read(go[0], name, sizeof(name));
	(void)close(go[0]);
	if (n <= 0)
		return -ENODEV;
	slave = open(name, O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (slave < 0)
		return -errno;
	return control ? holding_kept(ioctl(slave, TIOCSCTTY, 0)) : 0;
}

static int hold_pty_slave(void)
{
	return pty_with_outside_master(false);
}

static int hold_controlling_tty(void)
{
	int r = pty_with_outside_master(true);

	/* only the control is left; holding_start() reports above these */
	(void)close_range(3, 99, 0);
	return r;
}

static int hold_dev_tty(void)
{
	int r = hold_pty_pair(), slave = r == 0 ? dup(4) : -1;

	if (r < 0)
		return r;
	if (ioctl(slave, TIOCSCTTY, 0) < 0)
		return -errno;
	return holding_open("/dev/tty", O_RDWR);
}

const struct holding device_holdings[] = {
	DUMPED(harmless_devices),
	DUMPED(kmsg),
	REFUSED(fuse, "/dev/fuse"),
	REFUSED(dev_userfaultfd, "/dev/userfaultfd"),
	REFUSED(tun, "/dev/net/tun"),
	REFUSED(loop_control, "/dev/loop-control"),
	REFUSED(block_device, "block device"),
	DUMPED(autofs),
	REFUSED(cpu_latency, "/dev/cpu_dma_latency"),
	REFUSED(device_path, "/dev/fuse"),
	DUMPED(console_tty),
	REFUSED(serial_tty, "/dev/ttyS0"),
	DUMPED(pty_pair),
	DUMPED(pty_master),
	REFUSED(pty_slave, "terminal"),
	DUMPED(controlling_tty),
	DUMPED(dev_tty),
};

const size_t n_device_holdings = ARRAY_LEN(device_holdings);
