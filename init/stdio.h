/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_STDIO_H
#define SNAP_INIT_STDIO_H

/*
 * The engine's stdin, stdout and stderr with --snapshot: three pipes made by us, hence under the
 * engine's uid, with a pump each to what we inherited. A wake can give the restored engine pipes
 * of this container, whatever the container's own stdio may be.
 *
 * The engine's ends are opened anew for each start: a boot that failed may have left its own open
 * file with strange flags. What it had already written stays in the pipe and gets out.
 */

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"
#include "common/loop.h"
#include "init/pump.h"

#define STDIO_N 3

struct stdio {
	bool on; /* false: plain mode, nothing here does anything */
	struct loop *loop;
	struct pump pumps[STDIO_N];
	int ends[STDIO_N];  /* the engine's, while we hold them */
	int names[STDIO_N]; /* O_PATH: tell a capture which pipes are ours, hold none of them open
			     */
};

/* descriptors 0 to 2 must be open; 0 or -errno */
int stdio_init(struct stdio *stdio, struct loop *loop, struct snap_error *err);
void stdio_done(struct stdio *stdio);

/* fresh ends for the next start, in stdio->ends; output flows from now on */
int stdio_open_ends(struct stdio *stdio, struct snap_error *err);

/* the engine has its ends: drop ours, and let input flow */
void stdio_close_ends(struct stdio *stdio);

/* the engine is gone: what it wrote is what is in the pipes now */
void stdio_mark_end(struct stdio *stdio);
bool stdio_is_drained(const struct stdio *stdio);

/* bytes that left so far: changes while the sinks move */
uint64_t stdio_moved(const struct stdio *stdio);

/*
 * A descriptor for log records that goes where fd 2 goes, but never blocks: opened anew with
 * O_NONBLOCK where that is possible, else 2 itself. The caller's to close unless it is 2.
 */
int stdio_open_log(void);

#endif
