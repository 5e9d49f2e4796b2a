/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_UNIT_SNAPSHOT_SANDBOX_H
#define SNAP_TESTS_UNIT_SNAPSHOT_SANDBOX_H

/* A folder of its own for a test, and real files in it. Everything here fails the test itself. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tests/lib/test.h"

struct sandbox {
	int fd;
	char path[64];
};

void sandbox_init(struct sandbox *box);
void sandbox_done(struct sandbox *box);

/* name may hold folders, which are made (0700) */
void sandbox_put(const struct sandbox *box, const char *name, const void *data, size_t size);
void sandbox_put_text(const struct sandbox *box, const char *name, const char *text);
bool sandbox_has(const struct sandbox *box, const char *name);

/* path of name in the sandbox, in buf */
const char *sandbox_path(const struct sandbox *box, const char *name, char *buf, size_t size);

/* run fn in a child, as uid if that is not 0; its result (0 to 255), or -SIGNAL */
int sandbox_run(uid_t uid, int (*fn)(void *arg), void *arg);

#endif
