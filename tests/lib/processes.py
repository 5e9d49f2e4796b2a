# SPDX-License-Identifier: Apache-2.0
"""What /proc says about processes that may end at any moment."""

import contextlib
import ctypes
import os
import pathlib
import signal


def stat_of(pid):
    """Fields of /proc/PID/stat from the state on; None when there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8",
                                                           errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_alive(pid):
    stat = stat_of(pid)
    return stat is not None and stat[0] not in "ZX"


def children_of(pid):
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(child) for child in children.split()]


PTRACE_SEIZE = 0x4206


@contextlib.contextmanager
def traced(pid):
    """Every thread of it has a tracer, a process that does nothing else; at the end it has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    read_end, write_end = os.pipe()
    tracer = os.fork()
    if tracer == 0:
        failed = [tid for tid in os.listdir(f"/proc/{pid}/task")
                  if libc.ptrace(PTRACE_SEIZE, int(tid), None, None) < 0]
        os.write(write_end, b"n" if failed else b"y")
        while True:
            signal.pause()
    os.close(write_end)
    try:
        assert os.read(read_end, 1) == b"y", "cannot trace it"
        yield tracer
    finally:
        os.close(read_end)
        os.kill(tracer, signal.SIGKILL)
        os.waitpid(tracer, 0)
