/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_INIT_TERMINAL_H
#define SNAP_INIT_TERMINAL_H

/*
 * Let go of the controlling terminal at 0, if there is one, so that the child's own session can
 * take it. Signals must be blocked: the two that the kernel sends for it are for nobody.
 */
void terminal_give_up(void);

#endif
