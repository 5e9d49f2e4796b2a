/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_CLI_INTERRUPT_H
#define SNAP_CLI_INTERRUPT_H

/* INT, TERM and HUP end work that takes its traces away first. */

#include <stdatomic.h>

/* true once one of them has come; watching begins with the call */
const atomic_bool *interrupt_watch(void);

int interrupt_signal(void); /* 0: none came */

#endif
