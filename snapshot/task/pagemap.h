/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_PAGEMAP_H
#define SNAP_SNAPSHOT_TASK_PAGEMAP_H

/*
 * /proc/PID/pagemap: what the kernel says of each page. The bits used here are readable without
 * CAP_SYS_ADMIN (Documentation/admin-guide/mm/pagemap.rst).
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGEMAP_EXCLUSIVE (1ULL << 56) /* mapped once, here */
#define PAGEMAP_FILE	  (1ULL << 61) /* of a file or shared: no private copy */
#define PAGEMAP_SWAPPED	  (1ULL << 62)
#define PAGEMAP_PRESENT	  (1ULL << 63)

/* the descriptor, the caller's to close, or -errno */
int pagemap_open(pid_t pid);

/* one entry a page from address on; entries read (fewer at the end of the address space) or
 * -errno */
ssize_t pagemap_read(int fd, uint64_t address, uint64_t *entries, size_t n_pages);

#endif
