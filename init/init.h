/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_INIT_H
#define SNAP_INIT_INIT_H

/*
 * The program: turns what happens (signals, dead children, messages, deadlines) into the
 * supervisor's events, one turn of the loop after the other, and carries out what it decides.
 */

#include "common/init_options.h"

/* run until everything is over; the exit status */
int init_run(const struct init_options *options);

#endif
