/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_MANIFEST_JSON_H
#define SNAP_SNAPSHOT_MANIFEST_JSON_H

/* The manifest as JSON text; the way back is manifest_parse() of snapshot/manifest.h. */

#include <stddef.h>

#include "snapshot/manifest.h"

/* *ret_text is the caller's to free; SNAP_E_INTERNAL naming a field that is no UTF-8 text */
int manifest_format(const struct manifest *m, char **ret_text, size_t *ret_size,
		    struct snap_error *err);

/*
 * The text of a manifest that manifest_parse() has taken, for a generation of another name: all
 * else stays, members of a later version too, and its digest, if it has one, is made anew.
 * *ret_text is the caller's to free.
 */
int manifest_rename(const char *text, size_t size, const char *generation, char **ret_text,
		    size_t *ret_size, struct snap_error *err);

#endif
