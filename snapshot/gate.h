/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GATE_H
#define SNAP_SNAPSHOT_GATE_H

/*
 * The gate decides in milliseconds, before any work, whether a snapshot may be woken here and
 * now: manifest against command, environment, host, files and pids. It collects every reason, so
 * that one line tells all of them.
 */

#include <stdbool.h>
#include <stddef.h>

#include "snapshot/manifest.h"

struct gpu_host;

struct gate_reasons {
	char text[1000]; /* "reason; reason; …", NUL-terminated, "and N more" when it is full */
	size_t n;
};

/* fields that the user accepts to differ: "kernel", "cpu", "criu", "env:NAME", "file:PATH" … */
struct gate_accept {
	const char *const *items;
	size_t n;
};

/*
 * Compare; want is the identity of the start at hand (identity_take()), here the host
 * (fingerprint_take()). gen_fd is the generation's folder. 0 when n is 0, else 1.
 */
int gate_check(const struct manifest *m, const struct manifest_identity *want,
	       const struct fingerprint *here, int gen_fd, const struct gate_accept *accept,
	       struct gate_reasons *ret);

/*
 * Driver and GPUs of this host against those of the snapshot; reasons are added to *ret. Not
 * is_trusted: no library is loaded that the snapshot names. 0: none,
 * or the snapshot has no GPU; else 1. Takes milliseconds and needs nothing that gate_check() needs.
 * *ret_host: the GPUs that were found, the caller's to free(), or NULL; ret_host may be NULL.
 */
int gate_check_gpus(const struct manifest *m, bool is_trusted, const struct gate_accept *accept,
		    struct gpu_host **ret_host, struct gate_reasons *ret);

#endif
