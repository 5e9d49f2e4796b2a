/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SNAP_SNAPSHOT_TASK_SYSCALL_INSN_H
#define SNAP_SNAPSHOT_TASK_SYSCALL_INSN_H

/*
 * Where a process has the two bytes of a `syscall` instruction: in its vdso, else in any mapped
 * executable file. Bytes that were meant as part of another instruction do as well, for nothing
 * behind them is ever executed.
 */

#include <stdint.h>
#include <sys/types.h>

#define SYSCALL_INSN_BYTES 2U

/* hint: an address that is right for sure if it holds the bytes, 0: none; 0, -ENOSYS or -errno */
int syscall_insn_find(pid_t pid, uint64_t hint, uint64_t *ret);

#endif
