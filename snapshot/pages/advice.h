/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_PAGES_ADVICE_H
#define SNAP_SNAPSHOT_PAGES_ADVICE_H

#include <stdint.h>

#include "common/error.h"
#include "snapshot/pages/map.h"

/*
 * Of a 2 MiB page, that it is given a huge one. The holes get memory too: at 96 % the engine has at
 * most a 24th more than it had, within the twentieth that a wake may add.
 */
#define PAGES_DENSE_PERCENT 96U

/*
 * Before the first touch: MADV_HUGEPAGE on what is dense, by system calls injected into each
 * process. No effect where the system gives huge pages to everybody or to nobody. *ret_bytes is
 * what was advised. A 2 MiB page with content of a mapping that wants no huge pages gets none; one
 * in which such a mapping has no content cannot be told from others here. A process that cannot be
 * injected is filled with small pages: no failure.
 */
int pages_advise_huge(const struct page_map *map, uint64_t *ret_bytes, struct snap_error *err);

#endif
