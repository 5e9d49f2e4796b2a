/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_ELF_H
#define SNAP_SNAPSHOT_ELF_H

#include <stddef.h>

/*
 * build id of an ELF file in hex (at most 40 digits, so 41 bytes always do); bounded reads. 0, or
 * -errno: -ENOEXEC no ELF file of this machine's kind, -ENODATA no build id in it, -ENOSPC
 */
int elf_build_id(const char *path, char *ret_hex, size_t size);

#endif
