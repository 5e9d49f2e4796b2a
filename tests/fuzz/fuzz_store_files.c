/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "snapshot/lease.h"
#include "snapshot/store.h"

#include "tests/fuzz/fuzz_target.h"

/*
 * The input lies in a store as `current` and as `lease`. A name that is read is a generation's, and
 * the file says it and nothing more; a lease is taken or refused with a reason, whatever is there.
 */

static char folder[] = "/dev/shm/fuzz_store_files.XXXXXX";
static struct store store;

static void remove_folder(void)
{
	(void)unlinkat(store.fd, "current", 0);
	(void)unlinkat(store.fd, "lease", 0);
	store_close(&store);
	(void)rmdir(folder);
}

static void open_store(void)
{
	FUZZ_CHECK(mkdtemp(folder));
	FUZZ_CHECK(store_open(&store, folder, false, NULL) == 0);
	FUZZ_CHECK(atexit(remove_folder) == 0);
}

static void put(const char *name, const uint8_t *data, size_t size)
{
	int fd = openat(store.fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	(void)fd_close(fd);
}

static void read_current(const uint8_t *data, size_t size)
{
	char name[STORE_NAME_MAX] = "";
	struct snap_error err = {0};

	put("current", data, size);
	if (store_current(&store, name, &err) < 0) {
		FUZZ_CHECK(err.code == SNAP_E_CORRUPT && err.msg[0]);
		return;
	}
	FUZZ_CHECK(store_name_is_valid(name));
	FUZZ_CHECK(size == strlen(name) + 1 && data[size - 1] == '\n');
	FUZZ_CHECK(memcmp(name, data, size - 1) == 0);
}

static void take_lease(const uint8_t *data, size_t size)
{
	char token[LEASE_TOKEN_DIGITS + 1];
	struct snap_error err = {0};

	put("lease", data, size);
	if (lease_take(store.fd, 1000, token, &err) < 0) {
		FUZZ_CHECK(err.code == SNAP_E_PREFLIGHT && err.msg[0] && !strchr(err.msg, '\n'));
		FUZZ_CHECK(faccessat(store.fd, "lease", F_OK, 0) == 0);
		FUZZ_CHECK(unlinkat(store.fd, "lease", 0) == 0);
		return;
	}
	FUZZ_CHECK(lease_check(store.fd, token) == 0);
	lease_drop(store.fd, token);
	FUZZ_CHECK(faccessat(store.fd, "lease", F_OK, 0) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (folder[sizeof(folder) - 2] == 'X')
		open_store();
	read_current(data, size);
	take_lease(data, size);
	return 0;
}
