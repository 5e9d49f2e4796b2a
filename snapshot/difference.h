/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_DIFFERENCE_H
#define SNAP_SNAPSHOT_DIFFERENCE_H

/*
 * What tells two snapshots apart, by their manifests. Those that matter are what the gate looks at
 * (docs/formats/manifest.md 6): a start that one of both would wake in may refuse the other. They
 * have the gate's names, "env:PATH", so that they are what --accept takes.
 */

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"
#include "snapshot/manifest.h"

struct difference {
	char *name;
	char *a; /* NULL: not there */
	char *b;
	bool matters;
};

struct differences {
	struct difference *items; /* those that matter first */
	size_t n;
	size_t n_matter;
	/* variables that both have: salts keep their digests apart, and the values are not ours */
	struct string_list unknown_env;
};

/*
 * A variable that both snapshots have can be compared when they have one salt, or when its value
 * here is that of one of them; here_a and here_b are the environment at hand, digested with the
 * salt of a and of b (identity_take()), or NULL. Values are told of nothing else: of a variable
 * only that it is there, or that it changed.
 */
int differences_find(const struct manifest *a, const struct manifest *b,
		     const struct manifest_identity *here_a, const struct manifest_identity *here_b,
		     struct differences *ret, struct snap_error *err);
void differences_done(struct differences *differences); /* idempotent */

#endif
