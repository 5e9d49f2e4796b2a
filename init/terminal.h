/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_TERMINAL_H
#define SNAP_INIT_TERMINAL_H

/*
 * Let go of the controlling terminal at 0, if there is one, so that the child's own session can
 * take it. A session leader gets HUP and CONT for that from the kernel, as sent by itself; with
 * signals taken over they are left out like all that we cause (signals_next).
 */
void terminal_give_up(void);

#endif
