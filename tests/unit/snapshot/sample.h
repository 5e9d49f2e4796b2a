/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_TESTS_UNIT_SNAPSHOT_SAMPLE_H
#define SNAP_TESTS_UNIT_SNAPSHOT_SAMPLE_H

/* The manifest of tests/data/manifest/good.json, the one that tests take and bend. */

#include "snapshot/manifest.h"

void sample_manifest(struct manifest *ret);

/* replace an owned string */
void sample_set(char **where, const char *value);

#endif
