# SPDX-License-Identifier: Apache-2.0
"""
A control group of the test's own: what limits the memory of a start, and counts what it used.
Version 1 or 2, whichever has the memory controller on this machine.
"""

import contextlib
import os
import time

REMOVE_TRIES = 200


def _hierarchy():
    """(its highest group that is seen here, is it version 2), or None."""
    with open("/proc/self/mountinfo", encoding="utf-8") as lines:
        mounts = [line.split(" - ") for line in lines]
    for left, right in mounts:
        point = left.split()[4]
        kind, _, options = right.split()[:3]
        if kind == "cgroup" and "memory" in options.split(","):
            return point, False
        if kind == "cgroup2":
            with open(os.path.join(point, "cgroup.subtree_control"), encoding="ascii") as names:
                if "memory" in names.read().split():
                    return point, True
    return None


class MemoryGroup:
    """Use with `with`; why_impossible() says first whether there can be one."""

    V1 = {"limit": "memory.limit_in_bytes", "peak": "memory.max_usage_in_bytes"}
    V2 = {"limit": "memory.max", "peak": "memory.peak"}
    count = 0

    def __init__(self, limit=None):
        folder, self.is_v2 = _hierarchy()
        MemoryGroup.count += 1
        self.path = os.path.join(folder, f"snap-test-{os.getpid()}-{MemoryGroup.count}")
        self._names = self.V2 if self.is_v2 else self.V1
        os.mkdir(self.path)
        if limit is not None:
            self.limit(limit)

    @staticmethod
    def why_impossible():
        """None, or what this machine lacks."""
        try:
            found = _hierarchy()
            if found is None:
                return "no control groups with the memory controller here"
            with MemoryGroup() as group:
                group.limit(1 << 30)
        except OSError as error:
            return f"no control group can be made here: {error}"
        return None

    def _file(self, name):
        return os.path.join(self.path, name)

    def _read(self, name):
        with open(self._file(name), encoding="ascii") as text:
            return text.read()

    def limit(self, size):
        with open(self._file(self._names["limit"]), "w", encoding="ascii") as out:
            out.write(str(size))

    @property
    def peak(self):
        """The most bytes charged at once: memory, page cache and the kernel's own."""
        return int(self._read(self._names["peak"]))

    @property
    def kills(self):
        """How many processes the kernel has killed for this group's limit."""
        text = self._read("memory.events" if self.is_v2 else "memory.oom_control")
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    def enter(self):
        """This process, and so all that it starts; for `prepare` of a HostStart."""
        with open(self._file("cgroup.procs"), "w", encoding="ascii") as out:
            out.write("0")

    def close(self):
        # processes that were killed leave a little after they are reaped
        for _ in range(REMOVE_TRIES):
            with contextlib.suppress(OSError):
                os.rmdir(self.path)
                return
            time.sleep(0.01)
        os.rmdir(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
