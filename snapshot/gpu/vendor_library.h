/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_GPU_VENDOR_LIBRARY_H
#define SNAP_SNAPSHOT_GPU_VENDOR_LIBRARY_H

/*
 * A library of NVIDIA's that the engine's container brings along, loaded into us: whoever can
 * change it decides what we do, with rights that the engine may not have.
 */

#include <stddef.h>

#include "common/error.h"

/* what dlsym() has for a name goes to a function pointer at offset in a struct */
struct vendor_symbol {
	const char *name;
	size_t offset;
};

/*
 * dlopen() with flags. The file behind path must belong to root, to us, or, in a user namespace, to
 * somebody outside, and be writable for nobody else. SNAP_E_GPU.
 */
int vendor_library_load(const char *path, int flags, void **ret, struct snap_error *err);

/* a function pointer from what dlsym() and its like give */
void vendor_library_set(void *base, size_t offset, const void *address);

#endif
